package configs

import (
	"fmt"
	"regexp"
)

const (
	maxCPULimit = maxCPUs * 100 // percent
	maxTasks    = 1 << 22       // the kernel's own limit of pids

	minLimitMiB = 16 // less than a QEMU without a guest takes
)

// Limits bound what a machine takes of its host: its QEMU and its daemons
// together. A field left zero bounds nothing.
type Limits struct {
	CPUPercent int `json:"cpu_percent,omitempty" yaml:"cpu_percent,omitempty"` // of one processor: 150 is one and a half
	MemoryMiB  int `json:"memory_mib,omitempty" yaml:"memory_mib,omitempty"`   // of all of them, the guest's memory with it
	Tasks      int `json:"tasks,omitempty" yaml:"tasks,omitempty"`             // threads and processes
}

// accountName is what a name or number of a user may look like; see useradd(8).
var accountName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$`)

// validateResources adds what can't be said of what a machine takes of its host to
// errs.
func (m Machine) validateResources(errs *Errors) {
	bound := func(field string, v, least, most int) {
		if v != 0 && (v < least || v > most) {
			errs.add(field, fmt.Sprint(v), fmt.Sprintf("want %d to %d", least, most))
		}
	}
	bound("limits.cpu_percent", m.Limits.CPUPercent, 1, maxCPULimit)
	bound("limits.memory_mib", m.Limits.MemoryMiB, minLimitMiB, maxMemoryMiB)
	bound("limits.tasks", m.Limits.Tasks, 1, maxTasks)
	if most := m.Limits.MemoryMiB; most >= minLimitMiB && most < m.MemoryMiB {
		errs.add("limits.memory_mib", fmt.Sprint(most), fmt.Sprintf("is less than the guest's own memory, %dM", m.MemoryMiB))
	}
	if m.RunAs != "" && !accountName.MatchString(m.RunAs) {
		errs.add("run_as", m.RunAs, "want the name or the number of a user")
	}
}
