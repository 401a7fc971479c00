package fakeqemu

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// version is the QEMU that the fake is measured against.
const version = "7.2.22"

func versionInfo() map[string]any {
	return map[string]any{"qemu": map[string]int{"major": 7, "minor": 2, "micro": 22}, "package": "fake"}
}

func nothing() map[string]any { return map[string]any{} }

// An action runs one command and returns its answer.
type action func(m *machine, args json.RawMessage) (any, *refusal)

// commands are those that the fake knows.
func commands() map[string]action {
	return map[string]action{
		"query-status": func(m *machine, _ json.RawMessage) (any, *refusal) {
			return map[string]any{"running": m.running, "singlestep": false, "status": m.status}, nil
		},
		"query-version":         func(*machine, json.RawMessage) (any, *refusal) { return versionInfo(), nil },
		"query-name":            func(*machine, json.RawMessage) (any, *refusal) { return nothing(), nil },
		"query-commands":        func(*machine, json.RawMessage) (any, *refusal) { return names(), nil },
		"query-qmp-schema":      func(*machine, json.RawMessage) (any, *refusal) { return schema(), nil },
		"query-cpus-fast":       func(m *machine, _ json.RawMessage) (any, *refusal) { return m.threads(), nil },
		"cont":                  func(m *machine, _ json.RawMessage) (any, *refusal) { return m.cont() },
		"stop":                  func(m *machine, _ json.RawMessage) (any, *refusal) { return m.stop() },
		"system_reset":          func(m *machine, _ json.RawMessage) (any, *refusal) { return m.reset() },
		"system_powerdown":      func(m *machine, _ json.RawMessage) (any, *refusal) { return m.powerdown() },
		"human-monitor-command": hmp,
		"quit": func(m *machine, _ json.RawMessage) (any, *refusal) {
			m.end("host-qmp-quit", false)
			return nothing(), nil
		},
	}
}

// command runs c. Then, if it is not nil, is for after the reply. The caller
// holds mu.
func (m *machine) command(c command) (answer any, then func(), r *refusal) {
	act, ok := commands()[c.Execute]
	if !ok {
		return nil, nil, &refusal{"CommandNotFound", fmt.Sprintf("The command %s has not been found", c.Execute)}
	}
	if c.Arguments != nil && c.Arguments[0] != '{' {
		return nil, nil, &refusal{"GenericError", "QMP input member 'arguments' must be an object"}
	}
	answer, r = act(m, c.Arguments)
	return answer, m.react, r
}

// react is what the guest does about its power button.
func (m *machine) react() {
	if m.pressed && m.running && !m.behaviour.IgnorePowerdown {
		m.end("guest-shutdown", true)
	}
}

func (m *machine) cont() (any, *refusal) {
	if !m.running {
		first := m.status == "prelaunch"
		m.running, m.status = true, "running"
		m.emit("RESUME", nil)
		if first {
			m.boot()
		}
	}
	return nothing(), nil
}

func (m *machine) stop() (any, *refusal) {
	if m.running {
		m.running, m.status = false, "paused"
		m.emit("STOP", nil)
	}
	return nothing(), nil
}

func (m *machine) reset() (any, *refusal) {
	m.emit("RESET", map[string]any{"guest": false, "reason": "host-qmp-system-reset"})
	m.pressed = false
	if m.running {
		m.boot()
	}
	return nothing(), nil
}

func (m *machine) powerdown() (any, *refusal) {
	m.emit("POWERDOWN", nil)
	m.pressed = true
	return nothing(), nil
}

// threads are the machine's CPUs.
func (m *machine) threads() []map[string]any {
	cpus := []map[string]any{}
	for i := range m.cpus {
		cpus = append(cpus, map[string]any{
			"cpu-index": i, "thread-id": os.Getpid(), "target": "x86_64",
			"qom-path": fmt.Sprintf("/machine/unattached/device[%d]", i),
		})
	}
	return cpus
}

func names() []map[string]string {
	all := []map[string]string{{"name": "qmp_capabilities"}}
	for _, name := range slices.Sorted(maps.Keys(commands())) {
		all = append(all, map[string]string{"name": name})
	}
	return all
}

// schema is as large as QEMU's, 200 KB, and says less.
func schema() []map[string]any {
	var entities []map[string]any
	for i := range 2000 {
		entities = append(entities, map[string]any{
			"name": fmt.Sprint(i), "meta-type": "builtin", "json-type": "int", "features": strings.Repeat("x", 40),
		})
	}
	return entities
}

func hmp(m *machine, args json.RawMessage) (any, *refusal) {
	var a struct {
		Line *string `json:"command-line"`
	}
	if err := json.Unmarshal(args, &a); err != nil || a.Line == nil {
		return nil, &refusal{"GenericError", "Parameter 'command-line' is missing"}
	}
	if *a.Line == "info status" {
		return "VM status: " + strings.ReplaceAll(m.status, "prelaunch", "paused (prelaunch)") + "\r\n", nil
	}
	name, _, _ := strings.Cut(*a.Line, " ")
	return fmt.Sprintf("unknown command: '%s'\r\n", name), nil
}
