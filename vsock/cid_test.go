package vsock

import (
	"errors"
	"strings"
	"testing"
)

func TestParseCID(t *testing.T) {
	tests := map[string]struct {
		text string
		want CID
		ok   bool
	}{
		"first":       {"3", FirstGuest, true},
		"usual":       {"42", 42, true},
		"last":        {"4294967294", LastGuest, true},
		"hypervisor":  {"0", 0, false},
		"loopback":    {"1", 0, false},
		"host":        {"2", 0, false},
		"any":         {"4294967295", 0, false},
		"33 bits":     {"4294967299", 0, false},
		"negative":    {"-3", 0, false},
		"plus":        {"+3", 0, false},
		"hexadecimal": {"0x2a", 0, false},
		"underscore":  {"4_2", 0, false},
		"space":       {" 42", 0, false},
		"empty":       {"", 0, false},
		"word":        {"any", 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseCID(tt.text)
			if got != tt.want || (err == nil) != tt.ok {
				t.Fatalf("ParseCID(%q) = %v, %v; want %v, ok %v", tt.text, got, err, tt.want, tt.ok)
			}
			if err != nil && (!errors.Is(err, ErrBadCID) || !strings.Contains(err.Error(), "want 3 to 4294967294")) {
				t.Errorf("got %v, want an ErrBadCID that tells the range", err)
			}
		})
	}
}

func FuzzParseCID(f *testing.F) {
	for _, s := range []string{"", "2", "3", "007", "4294967294", "4294967295", "1e3", "٣"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCID(s)
		if err != nil {
			return
		}
		if !c.Guest() {
			t.Errorf("ParseCID(%q) = %v, which no guest may have", s, c)
		}
		if got := strings.TrimLeft(s, "0"); got != c.String() {
			t.Errorf("ParseCID(%q) = %v, want the same digits", s, c)
		}
	})
}
