package configs

import (
	"strings"
	"testing"
)

// TestShippedScenariosRead reads every shipped scenario; e2e plays them.
func TestShippedScenariosRead(t *testing.T) {
	names := Shipped(ShippedScenario)
	if len(names) < 10 {
		t.Errorf("%q, want at least ten", names)
	}
	for _, name := range names {
		f, err := ShippedFile(ShippedScenario, name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ReadScenario(f, LabOptions{})
		if err != nil {
			t.Errorf("%s:\n%v", name, err)
		} else if s.Name != name || s.About == "" {
			t.Errorf("%s is called %q: %q", name, s.Name, s.About)
		}
	}
	if _, err := ShippedFile(ShippedScenario, "no-such"); err == nil || !strings.Contains(err.Error(), "there are: cid-conflict-global") {
		t.Errorf("got %v, want the names there are", err)
	}
}

func TestReadScenarioNamesEachMistake(t *testing.T) {
	wantMistakes(t, "testdata/badscenario", 25, func(f LabFile) error {
		_, err := ReadScenario(f, LabOptions{})
		return err
	})
}
