package scenario

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// A container is a process with namespaces of its own: all that the kernel knows of
// one, whoever started it. Its network namespace has no name and lives while the
// process does, or somebody else in it. The process ends when the player does,
// however that ends.
type container struct {
	name string
	pid  int
	stop func() error // ends it, once
}

// startContainer starts a process in a new network namespace of c's mode, with
// processes, mounts, System V objects and a host name of its own.
func startContainer(c configs.ScenarioContainer) (*container, error) {
	fail := func(err error) (*container, error) { return nil, fmt.Errorf("start container %q: %w", c.Name, err) }
	mode, err := vsock.ParseMode(c.Vsock)
	if err != nil {
		return fail(err)
	}
	ns, err := netns.New(mode)
	if err != nil {
		return fail(err)
	}
	defer ns.Close()
	stdin, life, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	defer stdin.Close()
	cmd := exec.Command("cat") // until its input ends
	cmd.Stdin = stdin
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC}
	if err := ns.Do(cmd.Start); err != nil {
		return fail(errors.Join(err, life.Close()))
	}
	return &container{name: c.Name, pid: cmd.Process.Pid, stop: sync.OnceValue(func() error {
		return errors.Join(life.Close(), cmd.Wait())
	})}, nil
}

var _ io.Closer = (*container)(nil)

// Close ends the container and waits for its end. Whoever else is in its namespace
// stays there.
func (c *container) Close() error {
	if err := c.stop(); err != nil {
		return fmt.Errorf("end container %q: %w", c.name, err)
	}
	return nil
}

func (c *container) ref() string { return "pid:" + strconv.Itoa(c.pid) }

// enter opens its network namespace. It fails with [fs.ErrNotExist] once the
// container has ended.
func (c *container) enter() (*netns.NS, error) {
	ns, err := netns.Open(c.ref())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("container %q: has ended: %w", c.name, fs.ErrNotExist)
	}
	return ns, err
}

// inContainers returns machines with the namespace of the container for those whose
// netns is container:NAME of one in containers.
func inContainers(machines []configs.LabMachine, containers map[string]*container) []configs.LabMachine {
	machines = slices.Clone(machines)
	for name, c := range containers {
		for i := range machines {
			if machines[i].Netns == "container:"+name {
				machines[i].Netns = c.ref()
			}
		}
	}
	return machines
}
