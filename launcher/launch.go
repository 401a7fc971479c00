package launcher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/guest"
	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/internal/undo"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
)

// An Option changes how a launch goes.
type Option func(*options)

type options struct {
	detached bool
	keep     bool
	running  func()
}

// Detached makes a launch return when the machine runs, without waiting for
// its guest to be ready.
func Detached() Option { return func(o *options) { o.detached = true } }

// Keeping says whether [Launcher.Run] leaves the machine, down, when it has ended.
// Then it also starts one that was left so.
func Keeping(keep bool) Option { return func(o *options) { o.keep = keep } }

// OnRunning has f called once the machine runs and is recorded, before its guest
// is waited for.
func OnRunning(f func()) Option { return func(o *options) { o.running = f } }

func gather(opts []Option) options {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

// Launch makes the machine that spec describes and brings it up: it runs, and
// unless [Detached] its guest is ready, in the way that the spec says. The CID, once
// chosen, is the machine's until it is removed.
//
// If the launch fails nothing is left behind, with one exception: a machine
// that runs but is not ready in time stays, and the error is a [*ReadyError].
// Launch fails with [configs.Errors]; with [fs.ErrExist] if there is such a
// machine; with [fs.ErrNotExist] if the image or the namespace does not exist; with a
// [*ModeError]; with an [*UnrecordedError]; with an [*ImageInUseError]; with cidalloc.ErrTaken; with a [*BootError] if QEMU or the guest
// ended; and with [errors.ErrUnsupported] if this host lacks something.
func (l *Launcher) Launch(ctx context.Context, spec configs.Machine, opts ...Option) (store.Machine, error) {
	spec.Default()
	if err := configs.ValidName(spec.Name); err == nil { // before anything long
		if _, err := l.record(ctx, spec.Name); err == nil {
			return store.Machine{}, existsError(spec.Name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return store.Machine{}, err
		}
	}
	h, err := l.resolve(ctx, spec)
	if err != nil {
		return store.Machine{}, err
	}
	k, err := l.lockMachine(ctx, spec.Name)
	if err != nil {
		return store.Machine{}, err
	}
	defer k.release()
	if err := l.unrecorded(spec.Name, ""); err != nil {
		return store.Machine{}, err
	}
	spec.Disks = h.disks.settled(spec.Disks)
	rec := store.Machine{Name: spec.Name, Spec: spec, Created: time.Now()}
	return l.bringUp(ctx, k, attempt{rec: rec, host: h, fresh: true}, gather(opts))
}

// Start brings up a machine that is stopped or failed, with the CID it had. It
// fails as [Launcher.Launch] does, then with the machine as it was; with
// [fs.ErrNotExist] if there is no such machine; and with a [*PhaseError] if it
// is not down.
func (l *Launcher) Start(ctx context.Context, name string, opts ...Option) (store.Machine, error) {
	m, err := l.record(ctx, name)
	if err != nil {
		return store.Machine{}, err
	}
	h, err := l.resolve(ctx, m.Spec)
	if err != nil {
		return store.Machine{}, err
	}
	k, err := l.lockMachine(ctx, name)
	if err != nil {
		return store.Machine{}, err
	}
	defer k.release()
	if m, err = l.record(ctx, name); err != nil { // somebody may have been quicker
		return store.Machine{}, err
	}
	if v := l.look(ctx, m, false); !v.State.down() { // the lock is ours
		return store.Machine{}, &PhaseError{Name: name, Have: v.State, Want: "stopped or failed"}
	}
	if err := l.unrecorded(name, m.UUID); err != nil {
		return store.Machine{}, err
	}
	if m.QEMU.Boot != "" {
		if err := l.settle(ctx, &m); err != nil {
			return store.Machine{}, err
		}
	}
	return l.bringUp(ctx, k, attempt{rec: m, before: m, host: h}, gather(opts))
}

func existsError(name string) error {
	return fmt.Errorf("machine %q: %w (vmlaunch start %s, or vmlaunch down %s)", name, fs.ErrExist, name, name)
}

// bringUp makes the attempt and waits for the guest. The lock is given up
// before the wait, so that the machine can be stopped meanwhile.
func (l *Launcher) bringUp(ctx context.Context, k *lock, a attempt, o options) (store.Machine, error) {
	a.l, a.files, a.detached = l, l.folder(a.rec.Name), o.detached
	defer a.close()
	if err := a.run(ctx); err != nil {
		return store.Machine{}, err
	}
	k.release()
	if o.running != nil {
		o.running()
	}
	if o.detached || !a.rec.Spec.Awaited() {
		return a.rec, nil
	}
	return l.awaitReady(ctx, a.rec, a.ready)
}

// An attempt is one launch under way: what it has got so far, and how to take
// that back.
type attempt struct {
	l        *Launcher
	rec      store.Machine // what is to be recorded
	before   store.Machine // the record that a failed start goes back to
	fresh    bool          // there was no such machine
	detached bool
	host     host
	files    folder

	ns       *netns.NS
	nsLock   *lock
	claim    claim
	ready    *guest.Ready // nil if nobody will wait
	socket   closer       // the QMP socket, until QEMU has it
	passed   []*os.File   // what QEMU inherits besides, see pass
	daemons  []started    // in the order of their start
	group    group        // what its processes are born in
	endScope func()       // ends what keeps a scope until QEMU is in it; nil for nothing
	made     bool         // the namespace was made by this attempt
	recorded bool         // rec.Name has a record of this attempt
	back     undo.Stack
}

type closer interface{ Close() error }

// A launchStep is one step of a launch; see [Steps].
type launchStep struct {
	name string
	do   func(*attempt, context.Context) error
}

// launchSteps returns the steps of a launch in their order, as docs/ARCHITECTURE.md
// has them. Each pushes its undo right after what it changed.
func launchSteps() []launchStep {
	return []launchStep{
		{"netns", (*attempt).openNamespace},
		{"cid", (*attempt).takeCID},
		{"listen", (*attempt).listen},
		{"network", (*attempt).makeNetworks},
		{"files", (*attempt).makeFiles},
		{"record", (*attempt).recordStarting},
		{"daemons", (*attempt).startDaemons},
		{"qemu", (*attempt).startQEMU},
		{"pid", (*attempt).recordQEMU},
		{"monitor", (*attempt).cont},
		{"running", (*attempt).recordRunning},
	}
}

// run makes all steps, or none: if one fails those before it are taken back.
func (a *attempt) run(ctx context.Context) (err error) {
	defer func() {
		a.nsLock.release() // undo steps take it themselves
		a.back.Unwind(ctx, &err)
	}()
	if err := a.prepare(ctx); err != nil {
		return err
	}
	for _, s := range launchSteps() {
		a.l.step(s.name)
		a.l.progress(a.rec.Name, s.name, "")
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("launch machine %q: %s: %w", a.rec.Name, s.name, err)
		}
		if err := s.do(a, ctx); err != nil {
			return err
		}
	}
	a.l.step("keep")
	a.back.Keep()
	return nil
}

// prepare fills in what names this attempt, and takes the lock that keeps
// others from removing the namespace before our record says that we use it.
func (a *attempt) prepare(ctx context.Context) error {
	self, err := proc.Self()
	if err != nil {
		return err
	}
	a.rec.UUID, a.rec.Launcher, a.rec.Boot = newUUID(), self, self.Boot
	a.rec.RunDir, a.rec.QEMU = a.files.run, proc.ID{}
	a.rec.Cause, a.rec.NotifyPort, a.rec.Ready = "", 0, time.Time{}
	if !isPin(a.rec.Spec.Netns) {
		return nil
	}
	if a.nsLock, err = a.l.shareNetns(ctx, a.rec.Spec.Netns); err != nil || a.fresh {
		return err
	}
	// Under the lock nobody makes the namespace ours to remove any more.
	now, err := a.l.record(ctx, a.rec.Name)
	a.rec.Netns, a.before.Netns = now.Netns, now.Netns
	return err
}

// newUUID returns a random UUID of version 4 (RFC 9562). QEMU shows it on its
// command line, where it is found again.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// close closes what the launcher itself needs no longer, after success and
// after failure. QEMU has copies of what it needs.
func (a *attempt) close() {
	a.nsLock.release()
	if a.ready != nil {
		a.ready.Close()
	}
	if a.socket != nil {
		a.socket.Close()
	}
	a.closePassed()
	a.group.Close()
	if a.endScope != nil {
		a.endScope()
	}
	if a.claim != nil {
		a.claim.Close()
	}
	if a.ns != nil {
		a.ns.Close()
	}
}

// pass hands f, from now on the attempt's to close, to the QEMU that will be
// started, and returns the descriptor it will have there.
func (a *attempt) pass(f *os.File) (fd int) {
	a.passed = append(a.passed, f)
	return fdFirstPassed + len(a.passed) - 1
}

// closePassed closes our copies of what QEMU has inherited.
func (a *attempt) closePassed() {
	for _, f := range a.passed {
		f.Close()
	}
	a.passed = nil
}

// recordIntent records that the machine is about to get a namespace.
func (a *attempt) recordIntent(ctx context.Context) error {
	a.rec.Phase = store.Starting
	err := a.l.Store.Update(ctx, func(tx *store.Tx) error { return a.put(tx) })
	if err != nil {
		return err
	}
	a.recorded = true
	a.back.Push("record", a.unrecord)
	return nil
}

// put records a.rec. For a machine that is to be new it fails with
// [fs.ErrExist] if somebody else has made it meanwhile.
func (a *attempt) put(tx *store.Tx) error {
	if err := a.chooseUID(tx); err != nil {
		return err
	}
	if !a.fresh || a.recorded {
		return tx.PutMachine(a.rec)
	}
	if _, err := tx.Machine(a.rec.Name); err == nil {
		return existsError(a.rec.Name)
	}
	return tx.CreateMachine(a.rec)
}

// unrecord puts the record back to what it was before the attempt, and with it
// the ledger and the namespace.
func (a *attempt) unrecord(ctx context.Context) error {
	if a.fresh {
		return a.l.forget(ctx, a.rec)
	}
	if a.made {
		if err := a.unmake(ctx); err != nil {
			return err
		}
	}
	return a.l.Store.Update(ctx, func(tx *store.Tx) error {
		if a.rec.CID != a.before.CID || a.rec.Space != a.before.Space {
			if err := a.l.Alloc.Free(tx, a.rec.Space, a.rec.CID, a.rec.Name); err != nil {
				return err
			}
		}
		back := a.before
		if now, err := tx.Machine(a.rec.Name); err == nil && !a.made {
			back.Netns = now.Netns // it may have become ours to remove
		}
		return tx.PutMachine(back)
	})
}

// unmake removes the namespace that this start of a known machine made.
func (a *attempt) unmake(ctx context.Context) error {
	k, err := a.l.lockNetns(ctx, a.rec.Netns.Ref)
	if err != nil {
		return err
	}
	defer k.release()
	return a.l.dropNamespace(ctx, a.rec.Netns, a.rec.Name)
}

// update changes the machine's record. It fails with [fs.ErrNotExist] if the
// machine was removed, and does nothing if it was started anew meanwhile.
func (l *Launcher) update(ctx context.Context, m store.Machine, change func(*store.Machine)) (store.Machine, error) {
	now := m
	err := l.Store.Update(ctx, func(tx *store.Tx) (err error) {
		if now, err = tx.Machine(m.Name); err != nil || now.UUID != m.UUID {
			return err
		}
		change(&now)
		return tx.PutMachine(now)
	})
	return now, err
}

// recordStarting completes the record that stands while QEMU starts.
func (a *attempt) recordStarting(ctx context.Context) error {
	m, err := a.l.update(ctx, a.rec, func(m *store.Machine) {
		m.NotifyPort, m.NICs = a.rec.NotifyPort, a.rec.NICs
	})
	a.rec = m
	return err
}

// recordRunning makes the machine one that runs, for everybody to see.
func (a *attempt) recordRunning(ctx context.Context) error {
	if err := a.checkDaemons(); err != nil {
		return err
	}
	m, err := a.l.update(ctx, a.rec, func(m *store.Machine) {
		m.Phase, m.Started, m.Stopped, m.Launcher = store.Running, time.Now(), time.Time{}, proc.ID{}
	})
	if err != nil {
		return err
	}
	a.rec = m
	return nil
}
