package e2e

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/testenv"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

const (
	crowd      = 100 // machines
	crowdHomes = 10  // namespaces, every other one local
)

// crowdName and crowdHome name machine n and the namespace that it lives in.
func crowdName(n int) string { return fmt.Sprintf("m%02d", n) }
func crowdHome(n int) string { return fmt.Sprintf("crowd%d", n%crowdHomes) }

// Issue B: a hundred `up --detach` at once in ten namespaces. All succeed, and no
// two machines have one CID in one space.
func TestMassUp(t *testing.T) {
	testenv.Require(t, testenv.Root, testenv.VhostVsock, testenv.VsockModes)
	h := newHost(t)
	for n := range crowdHomes {
		h.netns(crowdHome(n), []string{"local", "global"}[n%2])
	}
	began := time.Now()
	said := func(what string) { t.Logf("%s after %s", what, time.Since(began).Round(time.Second)) }
	h.atOnce(crowd, func(n int) []string {
		return []string{"up", crowdName(n), "--detach", "--image", "probe", "--netns", crowdHome(n)}
	})
	said("all are up")
	h.atOnce(crowdHomes, func(home int) []string { return append(residents(home, "wait"), "--timeout", "10m") })
	said("all are ready")
	h.wantCrowd() // not before: a QEMU among a hundred that boot takes longer to answer than ls waits
	for _, n := range []int{0, 1, crowd - 1} {
		h.wantName(probe, crowdName(n))
	}
	h.atOnce(crowdHomes, func(home int) []string { return residents(home, "down") })
	said("all are down")
	for n := range crowdHomes {
		h.must("netns", "rm", crowdHome(n))
	}
	h.wantClean()
}

// residents returns a command on all machines of a namespace.
func residents(home int, verb string) []string {
	args := []string{verb}
	for n := home; n < crowd; n += crowdHomes {
		args = append(args, crowdName(n))
	}
	return args
}

// atOnce runs n commands at once, all of which have to succeed.
func (h *host) atOnce(n int, args func(int) []string) {
	h.t.Helper()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if r := h.run(args(i)...); r.code != 0 {
				h.t.Errorf("want exit code 0: %s", r)
			}
		})
	}
	all.Wait()
}

// wantCrowd asks that all machines run, with a CID of their own in their space,
// and that the kernel has it.
func (h *host) wantCrowd() {
	h.t.Helper()
	machines := h.list()
	holder := map[string]string{}
	for n := range crowd {
		m := machines[crowdName(n)]
		space := "global"
		if m.Mode == "local" {
			space = m.Netns
		}
		key := fmt.Sprintf("%d in %s", m.CID, space)
		if m.State != "running" || m.Netns != crowdHome(n) || holder[key] != "" {
			h.t.Errorf("%+v, and the holder of its cid is %q", m, holder[key])
		}
		holder[key] = m.Name
		if err := claim(h.t, m.Netns, m.CID); !errors.Is(err, vsock.ErrInUse) {
			h.t.Errorf("a claim of cid %s ends with %v, want it in use", key, err)
		}
	}
	if len(machines) != crowd || len(h.qemus()) != crowd {
		h.t.Errorf("%d machines, %d processes, want %d:\n%s", len(machines), len(h.qemus()), crowd, strings.Join(h.qemus(), "\n"))
	}
}

// claim claims a CID in the namespace ref and lets go of it.
func claim(t *testing.T, ref string, cid uint32) error {
	t.Helper()
	ns, err := netns.Open(ref)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	return ns.Do(func() error {
		g, err := vsock.Hold(vsock.CID(cid))
		if err == nil {
			err = g.Close()
		}
		return err
	})
}
