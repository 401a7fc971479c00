package fakeqemu

import (
	"fmt"
	"os"
	"sync"
)

// A machine is the state that all monitors and consoles of one QEMU share.
type machine struct {
	behaviour Behaviour
	cpus      int
	consoles  []*console
	monitors  []*monitor
	backends  []*os.File    // connections to what serves vhost-user devices, open as long as QEMU lives
	over      chan struct{} // closed when QEMU has to exit

	// mu is held while a command runs: QEMU has one main loop.
	mu      sync.Mutex
	running bool
	status  string // RunState in QEMU's qapi/run-state.json
	pressed bool   // the power button, while the guest can't see it
	ended   bool   // over is closed
}

// build opens everything that o asks for. It fails with QEMU's complaint.
func build(b Behaviour, o options) (*machine, error) {
	m := &machine{behaviour: b, cpus: o.cpus, over: make(chan struct{}), running: !o.paused, status: "running"}
	if o.paused {
		m.status = "prelaunch"
	}
	chardevs := map[string]group{}
	for _, g := range o.chardevs {
		chardevs[g["id"]] = g
	}
	for _, id := range o.monitors {
		g, ok := chardevs[id]
		if !ok {
			return nil, fmt.Errorf("chardev %q not found", id)
		}
		l, err := listen(g)
		if err != nil {
			return nil, fmt.Errorf("-chardev id=%s: %w", id, err)
		}
		m.monitors = append(m.monitors, &monitor{machine: m, listener: l})
	}
	for _, id := range o.backends {
		f, err := greet(chardevs[id])
		if err != nil {
			return nil, fmt.Errorf("vhost-user device with chardev %s: %w", id, err)
		}
		m.backends = append(m.backends, f)
	}
	for _, id := range o.consoles {
		g, ok := chardevs[id]
		if !ok {
			return nil, fmt.Errorf("Property 'chardev' can't find value '%s'", id)
		}
		c, err := openConsole(g)
		if err != nil {
			return nil, fmt.Errorf("-chardev id=%s: %w", id, err)
		}
		m.consoles = append(m.consoles, c)
	}
	return m, nil
}

// start serves monitors and consoles until the process ends.
func (m *machine) start() {
	for _, mon := range m.monitors {
		go mon.serve()
	}
	for _, c := range m.consoles {
		go c.serve()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running {
		m.boot()
	}
}

// boot is what the guest does first. The caller holds mu.
func (m *machine) boot() {
	line := m.behaviour.Console
	if line == "" {
		line = "fakeqemu: booted"
	}
	for _, c := range m.consoles {
		c.print(line + "\r\n")
	}
	if m.behaviour.PanicAtBoot {
		m.end("guest-shutdown", true)
	}
}

// shutdown ends the machine for this reason (ShutdownCause in QEMU's
// qapi/run-state.json), which is the guest's own or not.
func (m *machine) shutdown(reason string, guest bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(reason, guest)
}

// end is shutdown for a caller that holds mu.
func (m *machine) end(reason string, guest bool) {
	if m.ended {
		return
	}
	m.ended = true
	m.running, m.status = false, "shutdown"
	m.emit("SHUTDOWN", map[string]any{"guest": guest, "reason": reason})
	close(m.over)
}

// emit tells an event to every monitor. The caller holds mu.
func (m *machine) emit(event string, data map[string]any) {
	for _, mon := range m.monitors {
		mon.event(event, data)
	}
}

// leave is an orderly exit but for the exit itself: all that was said is sent,
// and no socket file stays.
func (m *machine) leave() {
	m.mu.Lock() // a command that is being answered comes first
	defer m.mu.Unlock()
	for _, mon := range m.monitors {
		mon.leave()
	}
	for _, c := range m.consoles {
		c.leave()
	}
}
