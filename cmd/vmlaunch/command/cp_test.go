package command

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCopy(t *testing.T) {
	tests := map[string]struct {
		args string
		want fileCopy
		err  string
	}{
		"in":                    {"a b web:/c", fileCopy{"web", false, []string{"a", "b"}, "/c"}, ""},
		"out":                   {"web:a web:/b .", fileCopy{"web", true, []string{"a", "/b"}, "."}, ""},
		"colon in the path":     {"web:a:b .", fileCopy{"web", true, []string{"a:b"}, "."}, ""},
		"colon of this host":    {"./a:b web:c", fileCopy{"web", false, []string{"./a:b"}, "c"}, ""},
		"one word":              {"web:a", fileCopy{}, "want SOURCE… and TARGET"},
		"no machine":            {"a b", fileCopy{}, "all sources or the target"},
		"two machines":          {"web:a db:b", fileCopy{}, "want one machine"},
		"two sources' machines": {"web:a db:b .", fileCopy{}, "want one machine"},
		"both sides":            {"web:a web:b", fileCopy{}, "all sources or the target"},
		"some sources":          {"web:a b .", fileCopy{}, "all sources or the target"},
		"some sources later":    {"a web:b .", fileCopy{}, "all sources or the target"},
		"source and target":     {"web:a b web:c", fileCopy{}, "all sources or the target"},
		"no name":               {":a .", fileCopy{}, `machine ""`},
		"bad name":              {"C:a .", fileCopy{}, `machine "C"`},
		"no path":               {"web: .", fileCopy{}, "behind the colon"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseCopy(strings.Fields(tt.args))
			if tt.err != "" {
				if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %+v, %v, want ErrUsage with %q", got, err, tt.err)
				}
				return
			}
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(fileCopy{})); d != "" || err != nil {
				t.Errorf("%v (want - got +):\n%s", err, d)
			}
		})
	}
	if _, err := parseCopy([]string{"", "web:a"}); !errors.Is(err, ErrUsage) {
		t.Errorf("an empty path: %v, want ErrUsage", err)
	}
}
