package configs

import "slices"

// A Lab is what one vmlaunch.yaml declares: namespaces, and machines in them.
// It is a plain value, the same on every host, and stands for one copy: see
// [Lab.Copy] for more of them.
type Lab struct {
	Name       string         `json:"name"`
	Namespaces []LabNamespace `json:"namespaces"`
	Machines   []LabMachine   `json:"machines"`
}

// A LabNamespace is a network namespace of a lab.
type LabNamespace struct {
	Name  string `json:"name"`            // in the file
	Netns string `json:"netns"`           // on the host: as Machine.Netns of the machines in it
	Vsock string `json:"vsock,omitempty"` // global or local; "" if it is adopted as it is
	Adopt bool   `json:"adopt,omitempty"` // it is there already, and stays
}

// A LabMachine is a machine of a lab. The name of its blueprint is the one it has
// on the host.
type LabMachine struct {
	Machine
	Role      string            `json:"role"`              // the name that its replicas have together
	Replica   int               `json:"replica,omitempty"` // from 1; 0 if there is one only
	DependsOn map[string]string `json:"depends_on,omitempty"`
	Restart   string            `json:"restart,omitempty"` // what its systemd unit says; "" is [RestartOnFailure]
}

// When systemd restarts a machine, as values of [LabMachine.Restart]; see Restart= in
// systemd.service(5).
const (
	RestartNo        = "no"
	RestartOnFailure = "on-failure"
	RestartAlways    = "always"
)

// Restarts returns the values of [LabMachine.Restart].
func Restarts() []string { return []string{RestartNo, RestartOnFailure, RestartAlways} }

// What a machine can wait for in another one, as values of
// [LabMachine.DependsOn].
const (
	DependsRunning = "running" // its QEMU runs
	DependsReady   = "ready"   // its guest has said that it is ready
)

// Waves returns the machines in the order of a start: those of one wave depend
// only on those of earlier ones. In a wave they have the order of the file.
func (l Lab) Waves() [][]LabMachine {
	var waves [][]LabMachine
	up := map[string]bool{} // roles in earlier waves
	left := slices.Clone(l.Machines)
	for len(left) > 0 {
		var wave, rest []LabMachine
		for _, m := range left {
			if m.waits(up) {
				rest = append(rest, m)
			} else {
				wave = append(wave, m)
			}
		}
		if len(wave) == 0 { // a cycle, which no lab that was read has
			return append(waves, rest)
		}
		for _, m := range wave { // replicas have all the same wave
			up[m.Role] = true
		}
		waves, left = append(waves, wave), rest
	}
	return waves
}

// waits reports whether m depends on a role that is not among up.
func (m LabMachine) waits(up map[string]bool) bool {
	for role := range m.DependsOn {
		if !up[role] {
			return true
		}
	}
	return false
}
