package configs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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

// TestReadScenarioNamesEachMistake is [TestReadLabNamesEachMistake] for
// scenarios.
func TestReadScenarioNamesEachMistake(t *testing.T) {
	files, err := filepath.Glob("testdata/badscenario/*.yaml")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d files (%v), want at least 25", len(files), err)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := ReadScenario(LabFile{name + ".yaml", "/", text}, LabOptions{})
			if err == nil {
				t.Fatalf("read as %+v, want a mistake", s)
			}
			got, golden := err.Error()+"\n", strings.TrimSuffix(path, ".yaml")+".want"
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if d := cmp.Diff(string(want), got); err != nil || d != "" {
				t.Errorf("%v (-want +got):\n%s", err, d)
			}
		})
	}
}
