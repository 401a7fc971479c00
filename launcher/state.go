package launcher

import (
	"time"

	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/store"
)

// A State is what a machine is now. It is found out at each look.
type State string

// The states.
const (
	Created      State = "created"
	Starting     State = "starting"
	Running      State = "running"
	Paused       State = "paused"
	Stopping     State = "stopping"
	Stopped      State = "stopped"
	Failed       State = "failed"       // ended, or stands still, although nobody asked
	Unresponsive State = "unresponsive" // QEMU lives and does not answer
)

// down reports whether a machine in this state has no QEMU and nobody who is
// about to start one.
func (s State) down() bool { return s == Created || s == Stopped || s == Failed }

// facts are what was seen of a machine at one look.
type facts struct {
	boot   string // this boot's id
	atWork bool   // a verb is at work on the machine
	alive  bool   // the recorded QEMU lives
	status string // QEMU's run state; "" if it did not answer in time
	end    ending // what its log says about its end; only looked at if not alive
}

// decide says what a machine is, from its record and what was seen. It is a
// pure function.
func decide(m store.Machine, f facts) (s State, cause string) {
	if f.alive {
		return decideAlive(m, f)
	}
	switch m.Phase {
	case store.Created:
		return Created, ""
	case store.Starting:
		if f.atWork {
			return Starting, ""
		}
		return Failed, "its launch was broken off"
	case store.Stopped:
		return Stopped, m.Cause
	case store.Failed:
		return Failed, m.Cause
	case store.Stopping, store.Removing:
		if f.atWork {
			return Stopping, ""
		}
		return Stopped, ""
	}
	// It ran, and has ended without a verb of ours.
	switch {
	case m.Boot != f.boot:
		return Stopped, "the host was restarted"
	case f.atWork:
		return Stopping, ""
	case f.end.asked:
		return Stopped, f.end.cause
	case f.end.cause != "":
		return Failed, f.end.cause
	}
	return Failed, "QEMU ended without a word: it was killed, or it crashed"
}

func decideAlive(m store.Machine, f facts) (State, string) {
	switch {
	case m.Phase == store.Starting:
		return Starting, ""
	case m.Phase == store.Stopping && f.atWork:
		return Stopping, ""
	}
	switch f.status { // RunState in qapi/run-state.json of QEMU's source
	case "":
		if f.atWork { // it may be the one that holds the monitor
			return Running, ""
		}
		return Unresponsive, "QEMU does not answer on its monitor"
	case "running", "debug":
		return Running, ""
	case "paused", "suspended", "prelaunch", "save-vm", "restore-vm", "inmigrate", "finish-migrate", "postmigrate", "colo":
		return Paused, ""
	case "internal-error", "io-error", "guest-panicked", "watchdog", "shutdown":
		return Failed, "QEMU holds the guest: " + f.status
	}
	return Running, "" // of a newer QEMU
}

// A View is a machine as it is now. Its QEMU is the zero ID if there is none.
type View struct {
	store.Machine
	State  State
	Cause  string        // why State is Failed, or how it came to be Stopped
	Ready  bool          // its guest has said so since it was started
	Uptime time.Duration // since it was started; 0 if it is down
}

// view puts what was seen into words. Now is the time of the look.
func view(m store.Machine, f facts, now time.Time) View {
	v := View{Machine: m}
	v.State, v.Cause = decide(m, f)
	if !f.alive {
		v.QEMU = proc.ID{}
		return v
	}
	v.Ready = !m.Ready.IsZero()
	if !m.Started.IsZero() {
		v.Uptime = now.Sub(m.Started)
	}
	return v
}
