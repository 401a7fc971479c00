package cidalloc

import (
	"flag"
	"maps"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

const (
	// modelSeed is the environment variable that repeats a run of TestModel.
	modelSeed = "VMLAUNCH_TEST_SEED"

	modelSteps = 100_000
)

// TestModel takes random steps with a few machines, namespaces, reservations and
// strangers through restarts and clock jumps, and compares ledger and kernel with
// a plain model after each. The numbers to choose from are few, so that all of
// them meet.
func TestModel(t *testing.T) {
	steps, want := 0, modelSteps
	if testing.Short() { // as make unit asks for
		want /= 40
	}
	seed := uint64(time.Now().UnixMilli())
	if text := os.Getenv(modelSeed); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("to repeat: %s=%d", modelSeed, seed)
	for ; steps < want && !t.Failed(); seed += 1 << 20 { // each check takes some thousand seeds from there
		set(t, "rapid.seed", strconv.FormatUint(seed, 10))
		set(t, "rapid.steps", "200")
		rapid.Check(t, func(rt *rapid.T) {
			m := newModel(t)
			defer func() {
				if err := os.RemoveAll(m.dir); err != nil {
					rt.Error(err)
				}
			}()
			rt.Repeat(map[string]func(*rapid.T){
				"": m.check,
				// A step that is there twice is taken more often.
				"acquire": m.acquire, "start": m.acquire, "start again": m.acquire,
				"stop": m.stop, "remove": m.remove, "late release": m.late, "crash": m.crash,
				"reserve": m.reserve, "unreserve": m.unreserve,
				"namespace": m.churn, "stranger": m.stranger, "stranger goes": m.strangerGoes,
				"clock": m.jump, "sweep": m.sweep, "reboot": m.reboot, "look": m.look,
			})
			steps += m.steps
		})
	}
	t.Logf("%d steps", steps)
}

// set sets a flag of rapid for the test.
func set(t *testing.T, name, value string) {
	t.Helper()
	before := flag.Lookup(name).Value.String()
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := flag.Set(name, before); err != nil {
			t.Error(err)
		}
	})
}

// memory is where files cost no disk: this is about steps.
func memory() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// A model is what ledger and kernel ought to say, in maps.
type model struct {
	*Allocator
	t      *testing.T
	dir    string
	kernel *modelKernel
	clock  time.Time
	steps  int
	idle   bool // the last step did nothing

	leased   map[claim]string // machines
	reserved map[claim]string // machines, "" for none of ours
	cooling  map[claim]cooled
	live     map[string]*Lease // by machine: its QEMU runs
	past     map[string]*Lease // by machine: the last one that ended without a release
	records  map[string]claim  // what a machine's record says
}

type cooled struct {
	last  string
	since time.Time
}

func newModel(t *testing.T) *model {
	t.Helper()
	dir, err := os.MkdirTemp(memory(), "vmlaunch-model-")
	if err != nil {
		t.Fatal(err)
	}
	m := &model{
		t: t, dir: dir, kernel: newModelKernel(), clock: time.Unix(1e9, 0),
		leased: map[claim]string{}, reserved: map[claim]string{}, cooling: map[claim]cooled{},
		live: map[string]*Lease{}, past: map[string]*Lease{}, records: map[string]claim{},
	}
	m.Allocator = New(store.New(dir))
	m.host, m.now = m.kernel, func() time.Time { return m.clock }
	m.Ranges = Ranges{Global: Range{3, 12}, Local: Range{3, 8}}
	return m
}

func machineNames() []string { return []string{"m0", "m1", "m2", "m3", "m4", "m5"} }

// enter goes to a namespace that there is, and returns its space.
func (m *model) enter(t *rapid.T) store.Space {
	names := slices.Sorted(maps.Keys(m.kernel.named))
	m.kernel.at = rapid.SampledFrom(names).Draw(t, "namespace")
	p, _ := m.kernel.look(nil)
	return p.space
}

// machine draws a machine of which ok holds; nothing is done in this step if there
// is none.
func (m *model) machine(t *rapid.T, ok func(string) bool) (string, bool) {
	names := slices.DeleteFunc(machineNames(), func(name string) bool { return !ok(name) })
	if len(names) == 0 {
		m.idle = true
		return "", false
	}
	return rapid.SampledFrom(names).Draw(t, "machine"), true
}

// freed is what becomes of a lease that is given back.
func (m *model) freed(at claim, machine string) {
	if m.leased[at] != machine {
		return
	}
	delete(m.leased, at)
	if _, kept := m.reserved[at]; !kept {
		m.cooling[at] = cooled{machine, m.clock}
	}
}

// find returns what a machine has in a space.
func find(all map[claim]string, s store.Space, machine string) vsock.CID {
	for at, name := range all {
		if at.space == s && name == machine {
			return at.cid
		}
	}
	return 0
}

// forOther reports whether the ledger keeps at from machine.
func (m *model) forOther(at claim, machine string) bool {
	owner, leased := m.leased[at]
	kept, reserved := m.reserved[at]
	return leased && owner != machine || reserved && kept != machine
}

func (m *model) isCooling(at claim, machine string) bool {
	c, there := m.cooling[at]
	age := m.clock.Sub(c.since)
	return there && c.last != machine && age >= 0 && age < coolDown
}

func (m *model) strangerAt(c vsock.CID) bool {
	return m.kernel.find(m.kernel.named[m.kernel.at], c) != nil
}

// check asks for the invariants.
func (m *model) check(t *rapid.T) {
	if m.idle {
		m.idle = false
		return
	}
	m.steps++
	ledger := map[claim]string{}
	reserved := map[claim]string{}
	records := map[string]claim{}
	err := m.store.View(m.t.Context(), func(tx *store.Tx) error {
		leases, err := tx.AllLeases()
		if err != nil {
			return err
		}
		for _, l := range leases {
			if l.Machine != "" {
				ledger[claim{l.Space, l.CID}] = l.Machine
			}
			if l.Reserved != nil {
				reserved[claim{l.Space, l.CID}] = l.Reserved.For
			}
		}
		machines, err := tx.Machines()
		for _, r := range machines {
			records[r.Name] = claim{r.Space, r.CID}
		}
		return err
	})
	if err == nil && m.steps%20 == 0 {
		err = m.store.Check(m.t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	same(t, "leases", m.leased, ledger)
	same(t, "reservations", m.reserved, reserved)
	same(t, "machines", m.records, records)
	m.checkKernel(t)
}

// checkKernel asks that each held descriptor is a stranger's or a machine's that
// has the lease, and that one CID is held once where it must be unique.
func (m *model) checkKernel(t *rapid.T) {
	of := map[*modelClaim]string{}
	for name, l := range m.live {
		of[l.guard.(*modelClaim)] = name
		if m.leased[claim{l.Space(), l.CID()}] != name {
			t.Fatalf("machine %s holds cid %d in %s without a lease", name, l.CID(), l.Space())
		}
	}
	held := map[claim]bool{}
	for _, c := range m.kernel.claims {
		name, ours := of[c]
		if !ours && c.by == "" {
			t.Fatalf("cid %d is held by nobody", c.cid)
		}
		delete(of, c)
		at := claim{store.SpaceOf(m.kernel.id(c.in), c.in.mode), c.cid}
		if held[at] || ours && m.leased[at] != name {
			t.Fatalf("cid %d in %s is held twice, or by %s which does not have it", c.cid, at.space, name)
		}
		held[at] = true
	}
	if len(of) > 0 {
		t.Fatalf("machines that run hold nothing: %v", of)
	}
}

func same[K comparable, V comparable](t *rapid.T, what string, want, got map[K]V) {
	if len(want) != len(got) {
		t.Fatalf("%s: the ledger has %v, want %v", what, got, want)
	}
	for k, v := range want {
		if g, there := got[k]; !there || g != v {
			t.Fatalf("%s: the ledger has %v, want %v", what, got, want)
		}
	}
}
