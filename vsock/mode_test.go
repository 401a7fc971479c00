package vsock

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestModeTexts(t *testing.T) {
	for m, want := range map[Mode]string{Global: `"global"`, Local: `"local"`, 0: `""`} {
		text, err := json.Marshal(m)
		if err != nil || string(text) != want {
			t.Errorf("marshal %d: got %s, %v; want %s", int(m), text, err, want)
		}
		back := Mode(9)
		if err := json.Unmarshal(text, &back); err != nil || back != m {
			t.Errorf("unmarshal %s: got %v, %v; want %v", text, back, err, m)
		}
	}
	if _, err := json.Marshal(Mode(9)); !errors.Is(err, ErrBadMode) {
		t.Errorf("marshal 9: got %v, want ErrBadMode", err)
	}
	if got := Mode(9).String(); got != "Mode(9)" {
		t.Errorf("got %q, want Mode(9)", got)
	}
}

func TestParseModeTakesTheKernelsWordsOnly(t *testing.T) {
	for _, s := range []string{"", "Global", "local\n", "private", "1"} {
		if m, err := ParseMode(s); !errors.Is(err, ErrBadMode) || m != 0 {
			t.Errorf("ParseMode(%q) = %v, %v; want ErrBadMode", s, m, err)
		}
	}
	m := Local
	if err := m.UnmarshalText([]byte("x")); !errors.Is(err, ErrBadMode) || m != Local {
		t.Errorf("unmarshal x: got %v, %v; want ErrBadMode and the old value", m, err)
	}
}
