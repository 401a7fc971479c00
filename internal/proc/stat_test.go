package proc

import (
	"strings"
	"testing"
)

const statTail = " S 1 2 3 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 98765 14 15"

func TestParseStart(t *testing.T) {
	tests := map[string]struct {
		in   string
		want uint64
		ok   bool
	}{
		"plain":           {"4711 (qemu)" + statTail, 98765, true},
		"name is a trap":  {"1 (a) S 1 1) (b)\n)" + statTail, 98765, true},
		"empty":           {"", 0, false},
		"no name":         {"1 2 3", 0, false},
		"cut off":         {"1 (a) S 1 2", 0, false},
		"not a number":    {"1 (a)" + strings.Replace(statTail, "98765", "x", 1), 0, false},
		"negative number": {"1 (a)" + strings.Replace(statTail, "98765", "-5", 1), 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseStart([]byte(tt.in))
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("got %d, %v, want %d, ok %v", got, err, tt.want, tt.ok)
			}
		})
	}
}
