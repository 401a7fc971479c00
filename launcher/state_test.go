package launcher

import (
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/proc"
	"github.com/vmlaunch/vmlaunch/store"
)

func TestDecide(t *testing.T) {
	const here = "this boot"
	for _, c := range []struct {
		name  string
		phase store.Phase
		boot  string
		facts facts
		want  State
		cause string
	}{
		{"runs", store.Running, here, facts{alive: true, status: "running"}, Running, ""},
		{"a newer QEMU's word", store.Running, here, facts{alive: true, status: "daydreaming"}, Running, ""},
		{"paused by somebody", store.Running, here, facts{alive: true, status: "paused"}, Paused, ""},
		{"QEMU hangs", store.Running, here, facts{alive: true}, Unresponsive, "QEMU does not answer on its monitor"},
		{"a verb holds the monitor", store.Running, here, facts{alive: true, atWork: true}, Running, ""},
		{"KVM gave up", store.Running, here, facts{alive: true, status: "internal-error"}, Failed, "QEMU holds the guest: internal-error"},
		{"killed", store.Running, here, facts{}, Failed, "QEMU ended without a word: it was killed, or it crashed"},
		{"powered off", store.Running, here, facts{end: ending{true, "the guest powered off"}}, Stopped, "the guest powered off"},
		{"panicked", store.Running, here, facts{end: ending{false, "the guest panicked"}}, Failed, "the guest panicked"},
		{"host restarted", store.Running, "earlier", facts{}, Stopped, "the host was restarted"},
		{"being killed", store.Running, here, facts{atWork: true}, Stopping, ""},

		{"starting", store.Starting, here, facts{atWork: true}, Starting, ""},
		{"QEMU is there", store.Starting, here, facts{atWork: true, alive: true, status: "prelaunch"}, Starting, ""},
		{"launch broken off", store.Starting, here, facts{}, Failed, "its launch was broken off"},

		{"stopping", store.Stopping, here, facts{atWork: true, alive: true, status: "running"}, Stopping, ""},
		{"stopping, QEMU gone", store.Stopping, here, facts{atWork: true}, Stopping, ""},
		{"stop broken off", store.Stopping, here, facts{alive: true, status: "running"}, Running, ""},
		{"stop broken off late", store.Stopping, here, facts{}, Stopped, ""},

		{"created", store.Created, here, facts{}, Created, ""},
		{"stopped", store.Stopped, here, facts{}, Stopped, "recorded"},
		{"stopped, restarted", store.Stopped, "earlier", facts{}, Stopped, "recorded"},
		{"failed", store.Failed, here, facts{}, Failed, "recorded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := store.Machine{Name: "web", Phase: c.phase, Boot: c.boot}
			if c.phase == store.Stopped || c.phase == store.Failed {
				m.Cause = "recorded"
			}
			c.facts.boot = here
			got, cause := decide(m, c.facts)
			if got != c.want || cause != c.cause {
				t.Errorf("got %s (%q), want %s (%q)", got, cause, c.want, c.cause)
			}
		})
	}
}

func TestDiagnose(t *testing.T) {
	begun := time.Unix(1, 0)
	for _, c := range []struct {
		name    string
		phase   store.Phase
		started time.Time
		facts   facts
		want    remedy
	}{
		{"runs", store.Running, begun, facts{alive: true}, leave},
		{"somebody launches it", store.Starting, time.Time{}, facts{atWork: true}, leave},
		{"somebody stops it", store.Stopping, begun, facts{atWork: true, alive: true}, leave},
		{"launch broken off", store.Starting, time.Time{}, facts{}, takeOff},
		{"launch broken off with QEMU", store.Starting, time.Time{}, facts{alive: true}, takeOff},
		{"restart broken off", store.Starting, begun, facts{}, setDown},
		{"restart broken off with QEMU", store.Starting, begun, facts{alive: true}, setDown},
		{"stop broken off", store.Stopping, begun, facts{alive: true}, setBack},
		{"stop broken off late", store.Stopping, begun, facts{}, setDown},
		{"killed", store.Running, begun, facts{}, setDown},
		{"stopped", store.Stopped, begun, facts{}, leave},
		{"failed", store.Failed, begun, facts{}, leave},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, why := diagnose(store.Machine{Phase: c.phase, Started: c.started}, c.facts)
			if got != c.want {
				t.Errorf("got remedy %d (%s), want %d", got, why, c.want)
			}
			if (got == leave) != (why == "") {
				t.Errorf("remedy %d with reason %q", got, why)
			}
		})
	}
}

func TestViewOfAMachineThatIsDown(t *testing.T) {
	m := store.Machine{Phase: store.Running, QEMU: proc.ID{PID: 7}, Ready: time.Unix(2, 0), Started: time.Unix(1, 0)}
	down := view(m, facts{}, time.Unix(9, 0))
	if !down.QEMU.IsZero() || down.Ready || down.Uptime != 0 {
		t.Errorf("down: QEMU %v, ready %v, uptime %v, want none", down.QEMU, down.Ready, down.Uptime)
	}
	up := view(m, facts{alive: true, status: "running"}, time.Unix(9, 0))
	if up.QEMU.PID != 7 || !up.Ready || up.Uptime != 8*time.Second {
		t.Errorf("up: QEMU %v, ready %v, uptime %v, want pid 7, ready, 8s", up.QEMU, up.Ready, up.Uptime)
	}
}

func TestDown(t *testing.T) {
	for s, want := range map[State]bool{
		Created: true, Stopped: true, Failed: true,
		Starting: false, Running: false, Paused: false, Stopping: false, Unresponsive: false,
	} {
		if got := s.down(); got != want {
			t.Errorf("%s: down is %v, want %v", s, got, want)
		}
	}
}
