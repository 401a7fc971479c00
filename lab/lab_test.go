package lab

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

const pair = `
name: pair
namespaces: {red: , old: {adopt: /run/netns/old}}
defaults: {image: probe, netns: red}
machines:
  db: {cid: 42}
  web: {replicas: 2, depends_on: db}
  far: {netns: old, cid: 7}
`

func read(t *testing.T, text string, copies int) []configs.Lab {
	t.Helper()
	l, err := configs.ReadLab([]configs.LabFile{{Name: "f", Dir: "/", Text: []byte(text)}}, configs.LabOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := Copies(l, copies)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// made returns the machine of a lab as it is recorded once it was made.
func made(m configs.LabMachine, s launcher.State, ready bool) launcher.View {
	m.Default()
	return launcher.View{Machine: store.Machine{Name: m.Name, Spec: m.Machine}, State: s, Ready: ready}
}

// summary is a plan in short, a change a line.
func summary(changes []Change) string {
	var b strings.Builder
	for _, c := range changes {
		b.WriteString(string(c.Action) + " " + c.Name + ": " + c.Why + "\n")
	}
	return b.String()
}

func TestPlan(t *testing.T) {
	l := read(t, pair, 0)[0]
	db, web1, web2, far := l.Machines[0], l.Machines[1], l.Machines[2], l.Machines[3]
	other := web2
	other.MemoryMiB = 4
	stranger := far
	stranger.Lab = "another"
	gone := far
	gone.Name, gone.Service = "pair.gone", "gone"
	red := store.Netns{Name: "pair.red", Lab: "pair", Mode: vsock.Local}
	for name, c := range map[string]struct {
		now  Now
		want string
	}{
		"nothing": {Now{}, "create pair.red: there is none\ncreate pair.db: there is none\ncreate pair.far: there is none\n" +
			"create pair.web-1: there is none\ncreate pair.web-2: there is none\n"},
		"all": {
			Now{
				Machines: []launcher.View{made(db, launcher.Running, true), made(far, launcher.Paused, true), made(web1, launcher.Running, false), made(web2, launcher.Stopped, false)},
				Netnses:  []store.Netns{red}, Names: map[string]bool{"pair.red": true},
			},
			"keep pair.red: it is there\nkeep pair.db: it is ready\nkeep pair.far: it is ready\n" +
				"await pair.web-1: it is running, and not ready\nstart pair.web-2: it is stopped\n",
		},
		"other": {
			Now{
				Machines: []launcher.View{made(stranger, launcher.Running, true), made(gone, launcher.Running, true), made(other, launcher.Running, true)},
				Netnses:  []store.Netns{{Name: "pair.blue", Lab: "pair"}, {Name: "pair-1.red", Lab: "pair-1"}}, Names: map[string]bool{"pair.red": true},
			},
			"refuse pair.red: there is one that was not made for this lab (adopt it, or vmlaunch netns rm pair.red)\n" +
				"create pair.db: there is none\nrefuse pair.far: there is one that is not of this lab (vmlaunch down pair.far)\n" +
				"create pair.web-1: there is none\nreplace pair.web-2: it differs: memory_mib (4, want 2)\n" +
				"remove pair.gone: the file has it no more\nremove pair.blue: the file has it no more\n",
		},
		"another mode": {
			Now{Netnses: []store.Netns{{Name: "pair.red", Lab: "pair", Mode: vsock.Global}}, Names: map[string]bool{"pair.red": true}},
			"refuse pair.red: its vsock mode is global, want local (vmlaunch down first)\ncreate pair.db: there is none\ncreate pair.far: there is none\n" +
				"create pair.web-1: there is none\ncreate pair.web-2: there is none\n",
		},
		"half made": {
			Now{Netnses: []store.Netns{{Name: "pair.red", Lab: "pair", Mode: vsock.Local, Pending: true}}, Names: map[string]bool{}},
			"create pair.red: there is none\ncreate pair.db: there is none\ncreate pair.far: there is none\n" +
				"create pair.web-1: there is none\ncreate pair.web-2: there is none\n",
		},
	} {
		changes := Plan(l, c.now)
		if d := cmp.Diff(c.want, summary(changes)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if err := refused(changes); (err != nil) != strings.Contains(c.want, "refuse") || err != nil && !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: refused: %v", name, err)
		}
	}
}

// TestPatienceIsNoDifference keeps a machine that was brought up with another
// time limit.
func TestPatienceIsNoDifference(t *testing.T) {
	m := read(t, pair, 0)[0].Machines[0].Machine
	patient := m
	patient.ReadyTimeout = 1e12
	if d := differences(patient, m); len(d) > 0 {
		t.Errorf("differs: %q", d)
	}
}

func TestCheckCIDs(t *testing.T) {
	if err := CheckCIDs(read(t, pair, 0), true); err != nil {
		t.Errorf("one lab: %v", err)
	}
	clash, ok := errors.AsType[*ClashError](CheckCIDs(read(t, pair, 4), true))
	want := []string{"cid 7 (pair-1.far, pair-2.far, 2 more)"} // in one adopted namespace; 42 is in a local one each
	if !ok || clash.NoModes || !cmp.Equal(clash.Which, want) {
		t.Errorf("copies: %v, want %q", clash, want)
	}
	err := CheckCIDs(read(t, pair, 2), false)
	clash, ok = errors.AsType[*ClashError](err)
	want = []string{"cid 42 (pair-1.db, pair-2.db)", "cid 7 (pair-1.far, pair-2.far)"}
	if !ok || !cmp.Equal(clash.Which, want) || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("copies without modes: %v, want %q", err, want)
	}
}

func TestIsCopyOf(t *testing.T) {
	for name, want := range map[string]bool{"pair": true, "pair-1": true, "pair-10": true, "pair-01": false, "pair-": false, "pair-x": false, "pair-1x": false, "pai": false, "pair1": false, "": false} {
		if got := IsCopyOf(name, "pair"); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
	if IsCopyOf("", "") || IsCopyOf("-1", "") {
		t.Error("a machine of no lab is of the lab without a name")
	}
}

// TestScheduleWaits does the changes of a lab with a double that fails where it is
// told to, and looks in which order they come.
func TestScheduleWaits(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		lab, bad, want, not string
	}{
		"all well":          {lab: pair, want: "pair.red pair.db pair.web-1"},
		"a machine fails":   {lab: pair, bad: "pair.db", want: "pair.red pair.db", not: "pair.web-1 pair.web-2"},
		"a namespace fails": {lab: pair, bad: "pair.red", want: "pair.far", not: "pair.db pair.web-1"},
		"running is enough": {
			lab: "name: pair\nmachines: {a: {image: probe}, b: {depends_on: {a: running}}, c: {depends_on: [a]}}",
			bad: "pair.a", want: "pair.a pair.b", not: "pair.c",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var begun []string
			perform := func(_ context.Context, _ schedule, n *node) error {
				mu.Lock()
				begun = append(begun, n.Name)
				mu.Unlock()
				close(n.running)
				if n.Name == c.bad {
					return boom
				}
				return nil
			}
			outcomes := do(t.Context(), Plan(read(t, c.lab, 0)[0], Now{}), perform)
			at := -1
			for _, name := range strings.Fields(c.want) {
				i := slices.Index(begun, name)
				if i <= at {
					t.Errorf("begun %q, want %s in this order", begun, c.want)
				}
				at = i
			}
			for _, name := range strings.Fields(c.not) {
				if slices.Index(begun, name) >= 0 {
					t.Errorf("%s has begun", name)
				}
			}
			for _, o := range outcomes {
				want := error(nil)
				switch {
				case o.Name == c.bad:
					want = boom
				case strings.Contains(" "+c.not+" ", " "+o.Name+" ") || c.bad == "pair.red" && o.Name == "pair.web-2":
					want = ErrNotBegun
				}
				if !errors.Is(o.Err, want) {
					t.Errorf("%s: %v, want %v", o.Name, o.Err, want)
				}
			}
		})
	}
}

// TestScheduleEndsWithItsContext begins nothing that waits once the context has
// ended.
func TestScheduleEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	outcomes := do(ctx, Plan(read(t, pair, 0)[0], Now{}), func(ctx context.Context, _ schedule, n *node) error {
		if n.Name == "pair.db" {
			cancel()
			return ctx.Err()
		}
		return nil
	})
	for _, o := range outcomes {
		if strings.HasPrefix(o.Name, "pair.web") && !errors.Is(o.Err, ErrNotBegun) {
			t.Errorf("%s: %v, want it not begun", o.Name, o.Err)
		}
	}
}

// TestOrphansThatStayAreNotSaidToGo does nothing to what the file has no more,
// and says nothing of it, unless it is asked to.
func TestOrphansThatStayAreNotSaidToGo(t *testing.T) {
	r := &Runner{Said: func(e Event) { t.Errorf("said %+v", e) }} // without a launcher: it could do nothing
	changes := []Change{
		{Lab: "pair", Kind: kindMachine, Name: "pair.gone", Action: Remove},
		{Lab: "pair", Kind: kindNetns, Name: "pair.blue", Action: Remove},
	}
	for _, o := range do(t.Context(), changes, r.perform) {
		if o.Err != nil {
			t.Errorf("%s: %v", o.Name, o.Err)
		}
	}
}
