package cidalloc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// The tests in this file ask the real kernel. They run in a nest.

// childEnv makes the test binary play a vmlaunch that leases a CID and then
// hangs: "STORE NETNS MACHINE".
const childEnv = "VMLAUNCH_CIDALLOC_CHILD"

func TestMain(m *testing.M) {
	if args := strings.Fields(os.Getenv(childEnv)); len(args) == 3 {
		if err := leaseAndHang(args[0], args[1], args[2]); err != nil {
			fmt.Println(err)
		}
		return
	}
	os.Exit(m.Run())
}

func leaseAndHang(dir, ref, machine string) error {
	ns, err := netns.Open(ref)
	if err != nil {
		return err
	}
	l, err := New(store.New(dir)).Acquire(context.Background(), Request{Machine: machine, NS: ns, Want: 42})
	if err != nil {
		return err
	}
	fmt.Println("holding", l.CID())
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	return err
}

// testNetns makes a namespace that goes with the test.
func testNetns(t testing.TB, name string, m vsock.Mode) *netns.NS {
	t.Helper()
	name = fmt.Sprintf("cidalloc-%s-%d", name, os.Getpid())
	ns, err := netns.Create(name, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ns.Close(), netns.Remove(name)); err != nil {
			t.Error(err)
		}
	})
	return ns
}

// must returns a lease that goes with the test.
func must(t *testing.T, a *Allocator, r Request) *Lease {
	t.Helper()
	l, err := a.Acquire(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// startQEMU starts a QEMU in ns that is stopped before its first instruction and
// holds cid, through fd if that is set.
func startQEMU(t *testing.T, ns *netns.NS, cid vsock.CID, fd *os.File) *exec.Cmd {
	t.Helper()
	qmp := filepath.Join(t.TempDir(), "qmp")
	device := fmt.Sprintf("vhost-vsock-pci,guest-cid=%d", cid)
	cmd := exec.Command("qemu-system-x86_64", "-S", "-accel", "tcg", "-M", "pc", "-m", "32", "-nodefaults", "-display", "none",
		"-qmp", "unix:"+qmp+",server=on,wait=off")
	if fd != nil {
		cmd.ExtraFiles = []*os.File{fd}
		device += ",vhostfd=3"
	}
	cmd.Args = append(cmd.Args, "-device", device)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := ns.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	deadline(t, "QEMU", func() bool { return answers(qmp) == nil })
	return cmd
}

// usable skips or fails the test where the kernel has no vhost-vsock for us.
func usable(t testing.TB, more ...testenv.Need) {
	t.Helper()
	testenv.Require(t, append([]testenv.Need{testenv.Root, testenv.VhostVsock}, more...)...)
}

// TestCIDIsReusedInLocalNamespaces is "must show" a.
func TestCIDIsReusedInLocalNamespaces(t *testing.T) {
	usable(t, testenv.VsockModes)
	a := New(store.New(t.TempDir()))
	one, two := testNetns(t, "one", vsock.Local), testNetns(t, "two", vsock.Local)
	l1 := must(t, a, Request{Machine: "web", NS: one, Want: 42})
	l2 := must(t, a, Request{Machine: "db", NS: two, Want: 42})
	if l1.Space() == l2.Space() || l1.Space().ID() != one.ID() || l2.Space().ID() != two.ID() {
		t.Errorf("spaces are %s and %s, want those of %v and %v", l1.Space(), l2.Space(), one.ID(), two.ID())
	}
	_, err := a.Acquire(t.Context(), Request{Machine: "third", NS: one, Want: 42})
	want := fmt.Sprintf("cid 42 in netns %q: held by machine %q", one.Ref(), "web")
	if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestCIDIsTakenInAllGlobalNamespaces is "must show" b.
func TestCIDIsTakenInAllGlobalNamespaces(t *testing.T) {
	usable(t, testenv.QEMU)
	s := store.New(t.TempDir())
	a := New(s)
	one, two := testNetns(t, "one", vsock.Global), testNetns(t, "two", vsock.Global)
	l := must(t, a, Request{Machine: "web", NS: one, Want: 42})
	qemu := startQEMU(t, one, 42, l.File())
	id, err := proc.Identify(qemu.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(t.Context(), func(tx *store.Tx) error {
		return tx.PutMachine(store.Machine{Name: "web", Phase: store.Running, QEMU: id, Netns: store.NetnsRef{Ref: one.Ref()}})
	})
	if err != nil {
		t.Fatal(err)
	}
	before := openFiles(t)
	_, err = a.Acquire(t.Context(), Request{Machine: "db", NS: two, Want: 42})
	want := fmt.Sprintf("cid 42 in netns %q: held by machine %q in netns %q (pid %d)", two.Ref(), "web", one.Ref(), id.PID)
	if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	// What the ledger does not know the kernel does.
	stranger := New(store.New(t.TempDir()))
	_, err = stranger.Acquire(t.Context(), Request{Machine: "db", NS: two, Want: 42})
	if want := fmt.Sprintf("held by foreign pid %d (\"qemu-system-x86_64", id.PID); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if after := openFiles(t); after != before {
		t.Errorf("%d files are open, want %d", after, before)
	}
}

// TestUnmanagedQEMUIsForeign is the second half of "must show" b, in each mode.
func TestUnmanagedQEMUIsForeign(t *testing.T) {
	usable(t, testenv.QEMU)
	modes := []vsock.Mode{vsock.Global}
	if testenv.Has(testenv.VsockModes) {
		modes = append(modes, vsock.Local)
	}
	for _, m := range modes {
		t.Run(m.String(), func(t *testing.T) {
			a := New(store.New(t.TempDir()))
			ns := testNetns(t, "ns", m)
			qemu := startQEMU(t, ns, 42, nil)
			_, err := a.Acquire(t.Context(), Request{Machine: "web", NS: ns, Want: 42})
			want := fmt.Sprintf("cid 42 in netns %q: held by foreign pid %d (", ns.Ref(), qemu.Process.Pid)
			if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
			rows, err := a.Rows(t.Context(), false)
			if err != nil || len(rows) != 1 || rows[0].State != Foreign || !strings.Contains(rows[0].Holder, fmt.Sprint(qemu.Process.Pid)) {
				t.Errorf("rows are %+v (%v), want the stranger", rows, err)
			}
			// It ends by SIGKILL: the number is to be had, after a moment.
			if err := qemu.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			must(t, a, Request{Machine: "web", NS: ns, Want: 42})
		})
	}
}

// TestForeignHolderOfAnotherSpaceIsNotBlamed has QEMUs with one CID everywhere.
func TestForeignHolderOfAnotherSpaceIsNotBlamed(t *testing.T) {
	usable(t, testenv.QEMU, testenv.VsockModes)
	global, local := testNetns(t, "global", vsock.Global), testNetns(t, "local", vsock.Local)
	g := startQEMU(t, global, 42, nil)
	l := startQEMU(t, local, 42, nil)
	for ns, want := range map[*netns.NS]*exec.Cmd{global: g, local: l} {
		p, err := linux{}.look(ns)
		if err != nil {
			t.Fatal(err)
		}
		if got, found := (linux{}).who(p, 42); !found || !strings.HasPrefix(got, fmt.Sprintf("pid %d (", want.Process.Pid)) {
			t.Errorf("in %s: got %q, want pid %d", ns.Ref(), got, want.Process.Pid)
		}
		if got, found := (linux{}).who(p, 43); found || got != "" {
			t.Errorf("cid 43 in %s: got %q, want nobody", ns.Ref(), got)
		}
	}
}

// TestLocalAndGlobalAtOnce is "must show" c, in either order.
func TestLocalAndGlobalAtOnce(t *testing.T) {
	usable(t, testenv.VsockModes)
	global, local := testNetns(t, "global", vsock.Global), testNetns(t, "local", vsock.Local)
	for _, order := range [][]*netns.NS{{global, local}, {local, global}} {
		t.Run(order[0].Ref(), func(t *testing.T) {
			a := New(store.New(t.TempDir()))
			must(t, a, Request{Machine: "web", NS: order[0], Want: 42})
			must(t, a, Request{Machine: "db", NS: order[1], Want: 42})
		})
	}
}

// TestReleasedAndTakenAgain is "must show" h: stop, start: the same CID.
func TestReleasedAndTakenAgain(t *testing.T) {
	usable(t, testenv.QEMU)
	a := New(store.New(t.TempDir()))
	ns := testNetns(t, "ns", vsock.Global)
	l := must(t, a, Request{Machine: "web", NS: ns})
	first := l.CID()
	for round := range 3 {
		qemu := startQEMU(t, ns, l.CID(), l.File())
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		// QEMU has it now, and only QEMU.
		if _, err := (linux{}).hold(place{ns: ns}, first); !errors.Is(err, vsock.ErrInUse) {
			t.Fatalf("round %d: got %v, want it in use", round, err)
		}
		if err := qemu.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = qemu.Wait() // killed, as told
		if err := a.Release(t.Context(), l.Space(), first, "web"); err != nil {
			t.Fatal(err)
		}
		l = must(t, a, Request{Machine: "web", NS: ns, Last: first})
		if l.CID() != first {
			t.Fatalf("round %d: got cid %d, want %d again", round, l.CID(), first)
		}
	}
	other := must(t, a, Request{Machine: "web2", NS: ns})
	if other.CID() == first {
		t.Errorf("another machine got %d too", first)
	}
}

// TestKilledVmlaunchLeavesOnlyItsRecord is "must show" h: kill -9 of the
// launcher between lease and start.
func TestKilledVmlaunchLeavesOnlyItsRecord(t *testing.T) {
	usable(t)
	dir := t.TempDir()
	a := New(store.New(dir))
	ns := testNetns(t, "ns", vsock.Global)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s", childEnv, dir, ns.Ref(), "web"))
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	killed := cmd.Process.Kill()
	_ = cmd.Wait() // killed, as told
	if killed != nil || line != "holding 42\n" {
		t.Fatalf("child says %q (%v)", line, killed)
	}
	// The ledger still says web's; who else asks is told so.
	_, err = a.Acquire(t.Context(), Request{Machine: "db", NS: ns, Want: 42})
	if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), `held by machine "web" (of which there is no other record)`) {
		t.Errorf("got %v, want it held by machine web", err)
	}
	must(t, a, Request{Machine: "web", NS: ns, Want: 42})
}

// TestKernelWithoutModesHasOneSpace is "must show" g.
func TestKernelWithoutModesHasOneSpace(t *testing.T) {
	usable(t, testenv.NoModes)
	a := New(store.New(t.TempDir()))
	one, two := testNetns(t, "one", vsock.Global), testNetns(t, "two", vsock.Global)
	if l := must(t, a, Request{Machine: "web", NS: one, Want: 42}); l.Space() != store.Global {
		t.Errorf("space is %s, want %s", l.Space(), store.Global)
	}
	if _, err := a.Acquire(t.Context(), Request{Machine: "db", NS: two, Want: 42}); !errors.Is(err, ErrTaken) {
		t.Errorf("got %v, want ErrTaken", err)
	}
}

// TestNoDeviceIsNoConflict runs where there is no /dev/vhost-vsock.
func TestNoDeviceIsNoConflict(t *testing.T) {
	if testenv.Has(testenv.VhostVsock) {
		t.Skip("there is one; the other tests use it")
	}
	s := store.New(t.TempDir())
	ns, err := netns.Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	_, err = New(s).Acquire(t.Context(), Request{Machine: "web", NS: ns})
	if err == nil || errors.Is(err, ErrTaken) || errors.Is(err, ErrExhausted) {
		t.Errorf("got %v, want what is missing", err)
	}
	if _, err := os.Stat(s.Path()); err == nil {
		if err := s.View(t.Context(), func(tx *store.Tx) error {
			if l, err := tx.Leases(store.Global); err != nil || len(l) != 0 {
				t.Errorf("ledger has %v (%v), want nothing", l, err)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
}
