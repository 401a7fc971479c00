package command

import (
	"errors"
	"math"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/vmlaunch/vmlaunch/configs"
)

// resourceFlags are what flags say about what a machine takes of its host, before
// it is read.
type resourceFlags struct{ cpu, memory string }

// addResources adds the flags about what a machine takes of its host.
func (f *machineFlags) addResources(fs *pflag.FlagSet) {
	m := &f.spec
	fs.BoolVar(&m.Hugepages, "hugepages", false, "guest memory in huge pages, of those that the host has reserved")
	fs.StringVar(&f.resources.cpu, "cpu-limit", "", "at most `N` of the host's processors for the machine, such as 1.5")
	fs.StringVar(&f.resources.memory, "memory-limit", "", "at most `SIZE` of the host's memory for the machine, QEMU's own with it")
	fs.IntVar(&m.Limits.Tasks, "tasks-limit", 0, "at most `N` threads and processes for the machine")
	fs.StringVar(&m.RunAs, "run-as", "", "run QEMU as `USER`, a name or number (default for root: one that nobody else has)")
}

// parseResources puts what the flags say into m. It fails with every mistake at
// once.
func (f *machineFlags) parseResources(fs *pflag.FlagSet, m *configs.Machine) error {
	var errs []error
	if fs.Changed("cpu-limit") {
		n, err := strconv.ParseFloat(f.resources.cpu, 64)
		if err != nil || !(n >= 0.01 && n <= 255) {
			errs = append(errs, usagef("cpu-limit %q: want 0.01 to 255 processors", f.resources.cpu))
		}
		m.Limits.CPUPercent = int(math.Round(n * 100))
	}
	if fs.Changed("memory-limit") {
		mib, err := parseMemory(f.resources.memory)
		m.Limits.MemoryMiB = mib
		errs = append(errs, err)
	}
	if fs.Changed("tasks-limit") && m.Limits.Tasks < 1 {
		errs = append(errs, usagef("tasks-limit %d: want at least 1", m.Limits.Tasks))
	}
	return errors.Join(errs...)
}
