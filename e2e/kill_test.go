package e2e

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// leastKills is what issue B asks for.
const leastKills = 300

// A tally counts kills by verb.
type tally struct {
	mu    sync.Mutex
	kills map[string]int
}

func (c *tally) add(verb string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kills[verb]++
}

// Issue B: vmlaunch is killed (kill -9) at every step of every verb that writes, and
// at moments by chance. After each kill comes one command, `ls`; then the kernel
// is asked whether what runs and what is held is what `ls` says, and nothing more.
func TestMassKill(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	count := &tally{kills: map[string]int{}}
	began := time.Now()
	t.Run("lanes", func(t *testing.T) { // ends when all of them have
		for i, lane := range []struct {
			name string
			run  func(*victim)
		}{
			{"up", killUps},
			{"start-stop", func(v *victim) { killStarts(v); killStops(v) }},
			{"rm-down", killRemovals},
			{"netns", func(v *victim) { killNetns(v); killUpByChance(v) }},
			{"netns by chance", killNetnsByChance},
		} {
			t.Run(lane.name, func(t *testing.T) {
				t.Parallel()
				h := newHost(t)
				h.prefix = "kill" + strconv.Itoa(i) + "-"
				lane.run(&victim{host: h, count: count, cid: uint32(1000 + i), chance: rand.New(rand.NewPCG(seed, uint64(i)))})
			})
		}
	})
	total := 0
	for verb, n := range count.kills {
		t.Logf("%3d kills of %s", n, verb)
		total += n
	}
	t.Logf("%d kills in %s", total, time.Since(began).Round(time.Second))
	if total < leastKills {
		t.Errorf("%d kills, want at least %d", total, leastKills)
	}
}

// A victim is an installation whose vmlaunch is killed again and again. Its
// machine is called apple and has the CID cid.
type victim struct {
	*host
	count  *tally
	cid    uint32
	chance *rand.Rand
}

// A home is a namespace that apple may live in.
type home struct {
	name string // "" is the host's own
	mode string // it is made with the machine, in this mode; "" if it is there
}

// up returns the command that brings apple up in n.
func (v *victim) up(n home) []string {
	args := []string{"up", "apple", "--detach", "--image", "probe", "--cid", strconv.Itoa(int(v.cid))}
	if n.name != "" {
		args = append(args, "--netns", v.prefix+n.name)
	}
	if n.mode != "" {
		args = append(args, "--vsock", n.mode)
	}
	return args
}

// kill runs a command that is killed at step, and checks what that left.
func (v *victim) kill(step string, n home, args ...string) (state string) {
	v.t.Helper()
	v.env = []string{"VMLAUNCH_TEST_KILL_AT=" + step}
	r := v.run(args...)
	v.env = nil
	if r.code != -1 {
		v.t.Fatalf("want it killed at %s: %s", step, r)
	}
	v.count.add(verbOf(args))
	return v.truth(n, verbOf(args)+" at "+step)
}

func verbOf(args []string) string {
	if args[0] == "netns" {
		return strings.Join(args[:2], " ")
	}
	return args[0]
}

// truth runs the one command after a kill, and asks the kernel whether it says
// all and nothing but what is. It returns the state of apple, "" if there is none.
func (v *victim) truth(n home, killed string) (state string) {
	v.t.Helper()
	m, there := v.list()["apple"]
	if alive := v.processes(); len(alive) > 1 || (len(alive) == 1) != (m.State == "running") {
		v.t.Errorf("killed %s: listed %v as %+v, processes %v", killed, there, m, alive)
	}
	if n.mode != "" {
		if pinned := slices.Contains(pins(v.t), v.prefix+n.name); pinned && !there {
			v.t.Errorf("killed %s: the namespace is left without its machine", killed)
		}
	}
	if !there {
		v.wantNoFiles()
	}
	v.wantHeld(n, m.State == "running", killed)
	return m.State
}

// wantHeld asks the kernel, by a fresh claim, whether the CID is held in n. A
// namespace that went with its machine can't be asked.
func (v *victim) wantHeld(n home, want bool, killed string) {
	v.t.Helper()
	ref := n.name
	if ref != "" {
		ref = v.prefix + ref
	}
	if n.mode != "" && !want && !slices.Contains(pins(v.t), ref) {
		return
	}
	err := claim(v.t, ref, v.cid)
	if held := errors.Is(err, vsock.ErrInUse); held != want || err != nil && !held {
		v.t.Errorf("killed %s: a claim of the cid ends with %v, want it held: %v", killed, err, want)
	}
}

// homes are one namespace of each kind. Those that are there are made here.
func (v *victim) homes() []home {
	v.netns(v.prefix+"old", "local")
	return []home{{"made", "local"}, {"made", "global"}, {"old", ""}, {"", ""}}
}

func killUps(v *victim) {
	for _, n := range v.homes() {
		for _, step := range launcher.VerbSteps()["up"] {
			if v.kill(step, n, v.up(n)...) != "" {
				v.must("rm", "--force", "apple")
			}
		}
	}
}

func killStarts(v *victim) {
	for _, n := range v.homes()[1:3] {
		v.must(v.up(n)...)
		v.must("stop", "apple", "--timeout", "0")
		for _, step := range launcher.VerbSteps()["start"] {
			switch v.kill(step, n, "start", "apple", "--detach") {
			case "running":
				v.must("stop", "apple", "--timeout", "0")
			case "stopped":
			default:
				v.t.Fatalf("killed start at %s: the machine is gone", step)
			}
		}
		v.must("rm", "apple")
	}
}

func killStops(v *victim) {
	n := home{"cell", "local"}
	state := ""
	for _, step := range launcher.VerbSteps()["stop"] {
		if state != "running" {
			v.must(v.up(n)...)
		}
		if state = v.kill(step, n, "stop", "apple"); state == "" {
			v.t.Fatalf("killed stop at %s: the machine is gone", step)
		}
	}
	v.must("rm", "--force", "apple")
}

func killRemovals(v *victim) {
	homes := v.homes()
	for _, c := range []struct {
		verb string
		home home
		args []string
	}{
		{"down", homes[0], []string{"down", "apple"}},
		{"rm", homes[1], []string{"rm", "--force", "apple"}},
		{"rm", homes[2], []string{"rm", "--force", "apple"}},
	} {
		state := ""
		for _, step := range launcher.VerbSteps()[c.verb] {
			if state != "running" {
				v.must(v.up(c.home)...)
			}
			state = v.kill(step, c.home, c.args...)
		}
	}
}

func killNetns(v *victim) {
	for i := range 12 {
		mode := []string{"local", "global"}[i%2]
		create := []string{"netns", "create", v.prefix + "cell", "--vsock", mode}
		for _, step := range launcher.VerbSteps()["netns create"] {
			v.kill(step, home{}, create...)
			if v.pinned() {
				v.must("netns", "rm", v.prefix+"cell")
			}
		}
		for _, step := range launcher.VerbSteps()["netns rm"] {
			if !v.pinned() {
				v.must(create...)
			}
			v.kill(step, home{}, "netns", "rm", v.prefix+"cell")
		}
		v.wantPinKnown()
	}
}

// pinned reports whether anything stands under the name of v's cell.
func (v *victim) pinned() bool {
	v.t.Helper()
	return slices.Contains(pins(v.t), v.prefix+"cell")
}

// wantPinKnown asks that a name that is there leads to a namespace which is
// known as ours.
func (v *victim) wantPinKnown() {
	v.t.Helper()
	if !v.pinned() {
		return
	}
	var n struct {
		Ours bool `json:"made_by_vmlaunch"`
	}
	v.decode(&n, "netns", "inspect", v.prefix+"cell")
	if !n.Ours {
		v.t.Error("a namespace is left that no record knows")
	}
}

// killNetnsByChance kills at moments by chance. What is quick is killed often.
func killNetnsByChance(v *victim) {
	cell := v.prefix + "cell"
	create, remove := []string{"netns", "create", cell, "--vsock", "local"}, []string{"netns", "rm", cell}
	creating, removing := v.timed(create...), v.timed(remove...)
	for range 120 {
		if v.pinned() {
			v.killWithin(&removing, remove...)
		} else {
			v.killWithin(&creating, create...)
		}
		v.truth(home{}, "by chance")
		v.wantPinKnown()
	}
}

func killUpByChance(v *victim) {
	n := home{"made", "local"}
	launching := v.timed(v.up(n)...)
	v.must("rm", "--force", "apple")
	for range 20 {
		v.killWithin(&launching, v.up(n)...)
		if v.truth(n, "up by chance") != "" {
			v.must("rm", "--force", "apple")
		}
	}
}

// timed runs a command that has to succeed and returns how long that took.
func (v *victim) timed(args ...string) time.Duration {
	v.t.Helper()
	began := time.Now()
	v.must(args...)
	return time.Since(began)
}

// killWithin runs a command and kills it at a moment of span: the time it took
// before, which is corrected if it has ended by then.
func (v *victim) killWithin(span *time.Duration, args ...string) {
	v.t.Helper()
	cmd := exec.Command(testenv.Binary(), append([]string{"--root", v.root}, args...)...)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	timer := time.AfterFunc(time.Duration(v.chance.Int64N(int64(*span))), func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait() // how it ended is asked below
	timer.Stop()
	if cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
		v.count.add(verbOf(args) + " by chance")
	} else {
		*span = time.Since(began)
	}
}
