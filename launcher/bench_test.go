package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/cidalloc"
	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/internal/paths"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// fakeCIDs is a kernel without /dev/vhost-vsock that claims CIDs all the same:
// the ledger is the real one, the descriptor is of /dev/null.
type fakeCIDs struct{ store *store.Store }

type fakeClaim struct {
	cid   vsock.CID
	space store.Space
	file  *os.File
}

func (c *fakeClaim) CID() vsock.CID     { return c.cid }
func (c *fakeClaim) Space() store.Space { return c.space }
func (c *fakeClaim) File() *os.File     { return c.file }
func (c *fakeClaim) Close() error {
	if err := c.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

func (fakeCIDs) check() error { return nil }

func (f fakeCIDs) free(*netns.NS, vsock.CID) (bool, error) { return true, nil }

func (f fakeCIDs) acquire(ctx context.Context, r cidalloc.Request) (claim, error) {
	mode, err := r.NS.Mode()
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	c := &fakeClaim{cid: max(r.Want, r.Last, vsock.FirstGuest), space: store.SpaceOf(r.NS.ID(), mode), file: file}
	err = f.store.Update(ctx, func(tx *store.Tx) error {
		if l, err := tx.Lease(c.space, c.cid); err == nil && l.Machine != "" && l.Machine != r.Machine {
			return &cidalloc.TakenError{CID: c.cid, Space: c.space, Holder: l.Machine}
		}
		if err := tx.PutLease(store.Lease{CID: c.cid, Space: c.space, Machine: r.Machine, Taken: time.Now()}); err != nil {
			return err
		}
		return r.Record(tx, c.space, c.cid)
	})
	if err != nil {
		file.Close()
		return nil, err
	}
	return c, nil
}

func newLauncher(root string, fake bool) *Launcher {
	dirs, err := paths.Resolve(root)
	if err != nil {
		panic(err)
	}
	s := store.New(dirs.State)
	l := New(Config{Dirs: dirs, Store: s, Alloc: cidalloc.New(s), Cache: image.Open(dirs.Cache), Self: []string{os.Args[0], root + "/"}})
	if fake {
		l.cids = fakeCIDs{s}
	}
	return l
}

func specFromText(text string) (configs.Machine, error) {
	var spec configs.Machine
	err := json.Unmarshal([]byte(text), &spec)
	return spec, err
}

// A bench is one installation of its own, and the promise that nothing of it
// stays.
type bench struct {
	*Launcher
	t    *testing.T
	root string
	fake bool
}

// newBench returns an empty installation. With fake set, CIDs are claimed in
// the ledger only.
func newBench(t *testing.T, fake bool) *bench {
	t.Helper()
	testenv.Require(t, testenv.Root)
	if !fake {
		testenv.Require(t, testenv.VhostVsock, testenv.QEMU)
	}
	root, err := os.MkdirTemp("", "vl") // short: see maxSocketPath
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Launcher: newLauncher(root, fake), t: t, root: root, fake: fake}
	t.Cleanup(b.tidy)
	return b
}

// tidy removes what a failed test left; a test that passed has left nothing
// but machines that it did not take down.
func (b *bench) tidy() {
	ctx := context.Background()
	if _, err := b.Reconcile(ctx); err != nil {
		b.t.Errorf("reconcile: %v", err)
	}
	for _, name := range b.names() {
		if err := b.Remove(ctx, name, true); err != nil {
			b.t.Errorf("remove: %v", err)
		}
	}
	b.wantNothing()
	for _, id := range b.processes() {
		_ = kill(ctx, id)
	}
	if err := os.RemoveAll(b.root); err != nil {
		b.t.Error(err)
	}
}

// names returns the machines that have a record.
func (b *bench) names() []string {
	var names []string
	err := b.Store.View(context.Background(), func(tx *store.Tx) error {
		machines, err := tx.Machines()
		for _, m := range machines {
			names = append(names, m.Name)
		}
		return err
	})
	if err != nil {
		b.t.Errorf("read the ledger: %v", err)
	}
	return names
}

// processes returns what runs with a path of this installation on its command
// line, this test aside.
func (b *bench) processes() []proc.ID {
	b.t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		b.t.Fatal(err)
	}
	var found []proc.ID
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		args, err := proc.Cmdline(pid)
		// A QEMU with a user of its own has no path of ours on it, but its log open.
		log, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/1", pid))
		if err != nil || !strings.Contains(strings.Join(append(args, log), " "), b.root+"/") {
			continue
		}
		if id, err := proc.Identify(pid); err == nil {
			found = append(found, id)
		}
	}
	return found
}

// wantNothing asks the ledger and the kernel whether anything is left over.
func (b *bench) wantNothing() {
	b.t.Helper()
	if names := b.names(); len(names) > 0 {
		b.t.Errorf("machines have records: %q", names)
	}
	if err := b.Store.View(context.Background(), b.wantNoLease); err != nil {
		b.t.Errorf("read the ledger: %v", err)
	}
	if ids := b.processes(); len(ids) > 0 {
		b.t.Errorf("processes are left: %v", ids)
	}
	pins, err := netns.List()
	if err != nil || slices.ContainsFunc(pins, func(p string) bool { return strings.HasPrefix(p, b.netnsName("")) }) {
		b.t.Errorf("namespaces are left: %q (%v)", pins, err)
	}
	for _, dir := range []string{b.Dirs.Run, filepath.Join(b.Dirs.Run, ".locks"), filepath.Join(b.Dirs.Run, ".netns"), filepath.Join(b.Dirs.State, "machines")} {
		b.wantEmpty(dir)
	}
}

func (b *bench) wantNoLease(tx *store.Tx) error {
	spaces, err := tx.Spaces()
	for _, s := range spaces {
		leases, lerr := tx.Leases(s)
		err = errors.Join(err, lerr)
		for _, l := range leases {
			if l.Machine != "" {
				b.t.Errorf("a lease is left: %+v", l)
			}
		}
	}
	return err
}

func (b *bench) wantEmpty(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.t.Error(err)
	}
	for _, e := range entries {
		if e.Name() != ".locks" && e.Name() != ".netns" {
			b.t.Errorf("%s is left", filepath.Join(dir, e.Name()))
		}
	}
}

// netnsName returns a name for a namespace that no other test has.
func (b *bench) netnsName(suffix string) string { return filepath.Base(b.root) + suffix }

// state returns what name is now, "" if there is no such machine. It does not
// ask the guest: where the device is a double, a dial may reach the hypervisor
// that this host itself runs under, and take its time.
func (b *bench) state(name string) State {
	b.t.Helper()
	m, err := b.record(b.t.Context(), name)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return b.look(b.t.Context(), m, b.atWork(name)).State
}

func (b *bench) launch(spec configs.Machine, opts ...Option) store.Machine {
	b.t.Helper()
	m, err := b.Launch(b.t.Context(), spec, opts...)
	if err != nil {
		b.t.Fatalf("launch %s: %v\n%s", spec.Name, err, b.logs(spec.Name))
	}
	return m
}

func (b *bench) logs(name string) string {
	var out strings.Builder
	for _, path := range []string{b.Logs(name).QEMU, b.Logs(name).Console} {
		fmt.Fprintf(&out, "%s:\n%s\n", path, readTail(path))
	}
	return out.String()
}

// setAside takes the state file away, as if it had been deleted, and returns what
// putBack takes.
func (b *bench) setAside() (kept string) {
	b.t.Helper()
	kept = filepath.Join(b.root, "kept.db")
	if err := os.Rename(b.Store.Path(), kept); err != nil {
		b.t.Fatal(err)
	}
	return kept
}

func (b *bench) putBack(kept string) {
	b.t.Helper()
	if err := os.Rename(kept, b.Store.Path()); err != nil {
		b.t.Fatal(err)
	}
}

// killAt runs a verb, one of verbs, on spec in a process of its own that is killed
// at step.
func (b *bench) killAt(step, verb string, spec configs.Machine) {
	b.t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		b.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.CommandContext(b.t.Context(), self, "-test.run=^$")
	cmd.Env = append(os.Environ(), envKillAt+"="+step, envRoot+"="+b.root, envSpec+"="+string(text), envVerb+"="+verb)
	if b.fake {
		cmd.Env = append(cmd.Env, envFake+"=1")
	}
	// No pipe: a QEMU that outlives its launcher must not hold us up.
	cmd.Stderr = os.Stderr
	err = cmd.Run()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		b.t.Fatalf("launcher at step %s ended with %v, want it killed", step, err)
	}
}
