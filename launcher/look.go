package launcher

import (
	"context"
	"sync"
	"time"

	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/qmp"
	"github.com/vmlaunch/vmlaunch/store"
)

// lookers bounds how many machines are looked at at once: enough that a few
// unresponsive ones don't hold up the rest.
const lookers = 16

// Machines returns all machines as they are now, by name. A QEMU that does not
// answer costs [lookWait] once, not each. It fails as store.Store.View does.
func (l *Launcher) Machines(ctx context.Context) ([]View, error) {
	var records []store.Machine
	err := l.Store.View(ctx, func(tx *store.Tx) (err error) {
		records, err = tx.Machines()
		return err
	})
	if err != nil {
		return nil, err
	}
	views := make([]View, len(records))
	slots := make(chan struct{}, lookers)
	var all sync.WaitGroup
	for i, m := range records {
		slots <- struct{}{}
		all.Go(func() {
			views[i] = l.hearAbout(ctx, l.look(ctx, m, l.atWork(m.Name)))
			<-slots
		})
	}
	all.Wait()
	return views, ctx.Err()
}

// Inspect returns the machine called name as it is now. It fails with
// [fs.ErrNotExist].
func (l *Launcher) Inspect(ctx context.Context, name string) (View, error) {
	m, err := l.record(ctx, name)
	if err != nil {
		return View{}, err
	}
	return l.hearAbout(ctx, l.look(ctx, m, l.atWork(name))), nil
}

// hearAbout asks a guest that runs, and of which nobody has heard that it is
// ready, once whether it is: who started it did not wait. A guest that is not
// ready refuses at once, or on kernels before 7.2 after 2 s.
func (l *Launcher) hearAbout(ctx context.Context, v View) View {
	if v.State != Running || v.Ready || !v.Spec.Awaited() {
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	if err := l.knock(ctx, v.Machine); err != nil {
		return v
	}
	m, err := l.recordReady(ctx, v.Machine)
	if err != nil {
		l.Log.Warn("readiness is not recorded", "machine", v.Name, "err", err)
	}
	v.Machine.Ready, v.Ready = m.Ready, true
	return v
}

// look finds out what m is now. It asks QEMU for [lookWait] at most.
func (l *Launcher) look(ctx context.Context, m store.Machine, atWork bool) View {
	f := l.see(m, atWork)
	if f.alive && m.Phase != store.Starting {
		f.status = l.runState(ctx, m.Name)
		if f.status == "" && !m.QEMU.Alive() { // it has gone meanwhile
			f = l.see(m, atWork)
		}
	}
	return view(m, f, time.Now())
}

// see gathers what is to be seen of m without asking its QEMU.
func (l *Launcher) see(m store.Machine, atWork bool) facts {
	f := facts{atWork: atWork, alive: m.QEMU.Alive()}
	f.boot, _ = netns.BootID() // without /proc nothing is alive either
	if !f.alive && m.Phase == store.Running {
		f.end = readEnding(readTail(l.folder(m.Name).qemuLog()))
	}
	return f
}

// runState asks QEMU for its run state; "" is no answer in time.
func (l *Launcher) runState(ctx context.Context, name string) string {
	ctx, cancel := context.WithTimeout(ctx, lookWait)
	defer cancel()
	c, err := qmp.Dial(ctx, l.folder(name).qmp())
	if err != nil {
		return ""
	}
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		return ""
	}
	return s.Status
}

// atWork reports whether a verb is at work on the machine called name.
func (l *Launcher) atWork(name string) bool { return locked(l.lockPath("machine", name)) }
