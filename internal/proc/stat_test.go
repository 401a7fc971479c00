package proc

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
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

// TestWorked works until that is seen.
func TestWorked(t *testing.T) {
	before, err := Worked(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; {
		now, err := Worked(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now > before {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("still %d ticks after ten seconds of work", now)
		}
	}
	if _, err := Worked(1 << 30); !errors.Is(err, ErrGone) {
		t.Errorf("of no process: %v, want ErrGone", err)
	}
	for field, want := range map[int]uint64{fieldUser: 9, fieldSystem: 10} {
		if got, err := parseStat([]byte("1 (a)"+statTail), field); got != want || err != nil {
			t.Errorf("field %d: %d, %v, want %d", field, got, err, want)
		}
	}
}
