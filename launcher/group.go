package launcher

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/store"
)

const (
	cgroupRoot    = "/sys/fs/cgroup"
	systemdBooted = "/run/systemd/system" // there if systemd is what runs the host, see sd_booted(3)

	// scopeWait bounds the wait for systemd to make a scope: milliseconds, unless it
	// is busy with a boot.
	scopeWait = 30 * time.Second
	// groupWait bounds the wait for the kernel to let go of a control group whose
	// last process has been killed: it follows within microseconds.
	groupWait = 5 * time.Second
	// groupPoll is the time between two tries.
	groupPoll = 5 * time.Millisecond
)

// A group is a control group in which all processes of one run of a machine are
// born, with its limits set before: in a systemd scope of its own where systemd
// runs, else below the root of the hierarchy. The zero group is the caller's own.
type group struct{ dir *os.File }

// Close closes the handle on the group. Closing the zero group, or twice, is fine.
func (g group) Close() {
	if g.dir != nil {
		g.dir.Close()
	}
}

// into makes a child be born in the group; it returns attr.
func (g group) into(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	if g.dir != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, int(g.dir.Fd())
	}
	return attr
}

// setting is what a file of a control group is to say; see cgroup-v2.rst in Linux's
// documentation.
type setting struct{ file, value string }

// cgroupSettings returns what limits mean to the kernel. It is a pure function.
func cgroupSettings(l configs.Limits) (settings []setting, controllers []string) {
	if l.CPUPercent != 0 {
		const period = 100_000 // µs, the kernel's default
		settings = append(settings, setting{"cpu.max", fmt.Sprintf("%d %d", l.CPUPercent*period/100, period)})
		controllers = append(controllers, "cpu")
	}
	if l.MemoryMiB != 0 {
		settings = append(settings, setting{"memory.max", fmt.Sprint(l.MemoryMiB * mib)}, setting{"memory.oom.group", "1"})
		controllers = append(controllers, "memory")
	}
	if l.Tasks != 0 {
		settings = append(settings, setting{"pids.max", fmt.Sprint(l.Tasks)})
		controllers = append(controllers, "pids")
	}
	return settings, controllers
}

// scopeArgs returns the arguments of systemd-run for a scope with limits, which
// begins with a process that repeats what it is told until nobody tells it
// anything. It is a pure function.
func scopeArgs(name string, l configs.Limits, root bool) []string {
	args := []string{"--scope", "--quiet", "--collect", "--unit=vmlaunch-" + name + ".scope", "--slice=vmlaunch.slice",
		"--description=vmlaunch machine " + name, "--property=Delegate=yes"}
	if !root {
		args = append([]string{"--user"}, args...)
	}
	if l.CPUPercent != 0 {
		args = append(args, fmt.Sprintf("--property=CPUQuota=%d%%", l.CPUPercent))
	}
	if l.MemoryMiB != 0 {
		args = append(args, fmt.Sprintf("--property=MemoryMax=%d", l.MemoryMiB*mib))
	}
	if l.Tasks != 0 {
		args = append(args, fmt.Sprintf("--property=TasksMax=%d", l.Tasks))
	}
	return append(args, "--", "cat")
}

// checkLimits fails with a [*MissingError] if this host can't hold a machine to its
// limits.
func checkLimits(l configs.Limits) error {
	if l == (configs.Limits{}) {
		return nil
	}
	const need = "limit a machine"
	if _, err := os.Stat(systemdBooted); err == nil {
		if _, err := exec.LookPath("systemd-run"); err != nil {
			return &MissingError{What: "systemd-run", Need: need, Hint: "try: apt-get install systemd"}
		}
		return checkUnified(cgroupRoot, need)
	}
	if err := checkUnified(cgroupRoot, need); err != nil {
		return err
	}
	_, controllers := cgroupSettings(l)
	have, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
	if err != nil {
		return fmt.Errorf("limit a machine: %w", err)
	}
	for _, c := range controllers {
		if !slices.Contains(strings.Fields(string(have)), c) {
			return &MissingError{What: "cgroup controller " + c + " in " + cgroupRoot, Need: need}
		}
	}
	if unix.Access(cgroupRoot, unix.W_OK) != nil {
		return &MissingError{What: "right to make control groups", Need: need, Hint: "run as root, or under systemd"}
	}
	return nil
}

// checkUnified looks whether root is a hierarchy of version 2.
func checkUnified(root, need string) error {
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		return &MissingError{What: "cgroup v2 at " + root, Need: need, Hint: "mount -t cgroup2 none " + root + ", or boot with systemd.unified_cgroup_hierarchy=1"}
	}
	return nil
}

// makeGroup makes the group that the attempt's processes will be in, if the machine
// has limits.
func (a *attempt) makeGroup(ctx context.Context) error {
	limits := a.rec.Spec.Limits
	if limits == (configs.Limits{}) {
		return nil
	}
	if _, err := os.Stat(systemdBooted); err == nil {
		dir, end, err := startScope(ctx, "systemd-run", scopeArgs(a.rec.Name, limits, os.Geteuid() == 0))
		if err != nil {
			return fmt.Errorf("limit machine %q: %w", a.rec.Name, err)
		}
		a.group, a.endScope = group{dir}, end // closed by close
		return nil
	}
	a.back.Push("control group", func(ctx context.Context) error { return dropGroup(ctx, cgroupRoot, a.rec.UUID) })
	g, err := openGroup(cgroupRoot, a.rec.UUID, limits)
	if err != nil {
		return fmt.Errorf("limit machine %q: %w", a.rec.Name, err)
	}
	a.group = g
	return nil
}

// groupPath is where the group of one run of a machine is, without systemd.
func groupPath(root, uuid string) string { return filepath.Join(root, "vmlaunch", uuid) }

// openGroup makes the group of a run with its limits. The caller closes it.
func openGroup(root, uuid string, l configs.Limits) (group, error) {
	settings, controllers := cgroupSettings(l)
	path := groupPath(root, uuid)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return group{}, err
	}
	for _, c := range controllers {
		for _, dir := range []string{root, filepath.Dir(path)} {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
				return group{}, fmt.Errorf("%w (a control group with processes in it can't hand on its limits)", err)
			}
		}
	}
	for _, s := range settings {
		if err := os.WriteFile(filepath.Join(path, s.file), []byte(s.value), 0); err != nil {
			return group{}, err
		}
	}
	dir, err := os.Open(path)
	return group{dir}, err
}

// dropGroup kills what is left in the group of a run, and removes it; none is fine.
// The folder above it goes with the last one.
func dropGroup(ctx context.Context, root, uuid string) error {
	path := groupPath(root, uuid)
	if _, err := os.Stat(path); uuid == "" || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, groupWait)
	defer cancel()
	if err := os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kill control group: %w", err) // cgroup.kill is there since Linux 5.14
	}
	tick := time.NewTicker(groupPoll)
	defer tick.Stop()
	for {
		err := unix.Rmdir(path)
		if err == nil || errors.Is(err, unix.ENOENT) {
			_ = unix.Rmdir(filepath.Dir(path)) // others may have theirs there
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("remove control group %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove control group %s: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}

// startScope has systemd make a scope around a process that does nothing, and
// returns the scope's control group when it is there. End ends that process: the
// scope lasts as long as anything is in it. The caller closes dir.
func startScope(ctx context.Context, program string, args []string) (dir *os.File, end func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, scopeWait)
	defer cancel()
	said := new(strings.Builder)
	cmd := exec.Command(program, args...)
	cmd.Stderr = said
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", program, bare(err))
	}
	end = func() {
		in.Close()
		_ = cmd.Wait()
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	_, err = io.WriteString(in, "up\n")
	if err == nil {
		_, err = bufio.NewReader(out).ReadString('\n')
	}
	if err == nil {
		dir, err = openGroupOf(cmd.Process.Pid)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		end()
		return nil, nil, fmt.Errorf("make systemd scope: %w: %s", errors.Join(ctx.Err(), err), line([]byte(said.String())))
	}
	return dir, end, nil
}

// Belonging returns what the kernel says of the QEMU of m: the number of the user that
// it runs as, and the path of its control group of version 2. Both are "" for a
// machine that is down, and what can't be found out is.
func Belonging(m store.Machine) (user, group string) {
	dir := fmt.Sprintf("/proc/%d", m.QEMU.PID)
	var st unix.Stat_t
	text, err := os.ReadFile(dir + "/cgroup")
	serr := unix.Stat(dir, &st)
	if !m.QEMU.Alive() { // asked last: until here the pid was its own
		return "", ""
	}
	if serr == nil {
		user = fmt.Sprint(st.Uid)
	}
	if err == nil {
		group, _ = unifiedPath(string(text)) // "" where there is none
	}
	return user, group
}

// openGroupOf opens the control group that a process is in. The caller closes it.
func openGroupOf(pid int) (*os.File, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	path, err := unifiedPath(string(text))
	if err != nil {
		return nil, err
	}
	return os.Open(filepath.Join(cgroupRoot, path))
}

// unifiedPath reads the path of a group of version 2 from the lines
// "HIERARCHY:CONTROLLERS:PATH" of /proc/PID/cgroup; see cgroups(7).
func unifiedPath(text string) (string, error) {
	for _, l := range strings.Split(text, "\n") {
		if path, ok := strings.CutPrefix(l, "0::"); ok && strings.HasPrefix(path, "/") {
			return path, nil
		}
	}
	return "", errors.New("no control group of version 2 in " + strconv.Quote(text))
}
