package scenario

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
)

// A container has a network namespace of its own, by which it is found, until it ends.
func TestContainerIsAPlaceWhileItLives(t *testing.T) {
	testenv.Require(t, testenv.Root)
	c, err := startContainer(configs.ScenarioContainer{Name: "web", Vsock: configs.VsockGlobal})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	here, err := netns.Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	ns, err := c.enter()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if ns.ID() == here.ID() {
		t.Error("it is in the host's own namespace")
	}
	machines := inContainers([]configs.LabMachine{
		{Machine: configs.Machine{Netns: "container:web"}}, {Machine: configs.Machine{Netns: "container:other"}},
	}, map[string]*container{"web": c})
	if machines[0].Netns != c.ref() || machines[1].Netns != "container:other" {
		t.Errorf("machines in %q and %q, want the first in %q", machines[0].Netns, machines[1].Netns, c.ref())
	}

	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if ns, err := c.enter(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after its end: %v, %v, want ErrNotExist", ns, err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}
