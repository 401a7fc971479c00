package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/image"
	"github.com/vmlaunch/vmlaunch/launcher"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// examine makes all checks, in the order in which a user would mend things.
func (a *app) examine(ctx context.Context) []check {
	checks := []check{checkKernel(), checkQEMU(ctx), checkVhost()}
	checks = append(checks, checkModes()...)
	return append(checks, a.checkAccel(ctx), checkOwnCID(), checkBuiltIn("linux guest", linuxParts), checkBuiltIn("probe guest", image.ProbeROM), checkDisks(),
		a.checkState(ctx))
}

// checkKernel names the kernel, and one that is known to be bad.
func checkKernel() check {
	c := check{Name: "kernel", Result: good}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return c.fail(limited, err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	c.Found = "Linux " + release
	if knownBad(release) {
		c.Result = limited
		c.Found += " resets every vsock connection after a while (CVE-2026-46214)"
		c.Remedy = "Linux 7.0.9 or later"
	}
	return c
}

// knownBad reports whether a kernel is one of 7.0.0 to 7.0.8.
func knownBad(release string) bool {
	var patch int
	n, _ := fmt.Sscanf(release, "7.0.%d", &patch)
	return n == 1 && patch < 9 || release == "7.0" || strings.HasPrefix(release, "7.0-")
}

func checkQEMU(ctx context.Context) check {
	c := check{Name: "qemu", Result: good}
	var m configs.Machine
	m.Default()
	path, err := exec.LookPath(m.QEMU)
	if err != nil {
		c.Result, c.Found, c.Remedy = missing, "no "+m.QEMU, "apt-get install qemu-system-x86"
		return c
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return c.fail(missing, fmt.Errorf("run %s: %w", path, err))
	}
	first, _, _ := strings.Cut(string(out), "\n")
	c.Found = first
	return c
}

// checkVhost claims a CID for a moment: a device that is there may still be one
// that can't be opened.
func checkVhost() check {
	c := check{Name: "vhost-vsock", Result: good, Found: "/dev/vhost-vsock gives out CIDs"}
	g, err := vsock.Hold(vsock.LastGuest)
	switch {
	case errors.Is(err, vsock.ErrInUse):
		return c // by someone: it works
	case err != nil:
		c = c.fail(missing, err)
		if lacks, ok := errors.AsType[*vsock.MissingError](err); ok {
			c.Found = "no " + lacks.What
			c.Remedy = lacks.Hint + ", or " + inANest
		}
		return c
	}
	if err := g.Close(); err != nil {
		return c.fail(limited, err)
	}
	return c
}

// checkModes looks at what namespaces can have their own vsock.
func checkModes() []check {
	modes := check{Name: "vsock modes", Result: good}
	h, err := netns.Host()
	if err != nil {
		return []check{modes.fail(limited, err)}
	}
	if !h.Modes {
		modes.Result = limited
		modes.Found = "this kernel has one vsock space for all namespaces"
		modes.Remedy = "Linux 7.0 or later, or " + inANest
		return []check{modes}
	}
	modes.Found = fmt.Sprintf("this namespace is %s, its children are %s", h.Mode, h.ChildMode)
	return []check{modes, checkMode("local namespaces", h.Local), checkMode("global namespaces", h.Global)}
}

func checkMode(name string, err error) check {
	c := check{Name: name, Result: good, Found: "can be made"}
	if err != nil {
		return c.fail(limited, err)
	}
	return c
}

func (a *app) checkAccel(ctx context.Context) check {
	c := check{Name: "accelerator", Result: good}
	dirs, err := a.dirs()
	if err != nil {
		return c.fail(limited, err)
	}
	var m configs.Machine
	m.Default()
	accel, err := launcher.New(launcher.Config{Dirs: dirs}).Accel(ctx, m.QEMU)
	if err != nil {
		return c.fail(limited, err)
	}
	c.Found = accel.Name + ": " + accel.Reason
	if accel.Name == configs.AccelTCG {
		c.Result = limited
		c.Remedy = "machines run, emulated and slower; --accel kvm insists"
	}
	return c
}

// checkOwnCID tells whether this host is a guest itself.
func checkOwnCID() check {
	c := check{Name: "own cid", Result: good}
	cid, err := vsock.OwnCID()
	switch {
	case err != nil:
		return c.fail(limited, err)
	case cid.Guest():
		c.Found = fmt.Sprintf("this host is a guest with CID %s, which its own machines can't have", cid)
	default:
		c.Found = "this host is no vsock guest"
	}
	return c
}

// linuxParts finds what the linux guest is made of.
func linuxParts() ([]byte, error) {
	agent, err := image.Agent()
	if err != nil {
		return nil, err
	}
	_, err = image.Busybox()
	return agent, err
}

func checkBuiltIn(name string, parts func() ([]byte, error)) check {
	c := check{Name: name, Result: good, Found: "can be built"}
	if _, err := parts(); err != nil {
		return c.fail(limited, err)
	}
	return c
}

// checkDisks asks for what only some machines need: disks, a UEFI, a TPM.
func checkDisks() check {
	c := check{Name: "disks", Result: good, Found: "qemu-img, UEFI firmware, swtpm"}
	_, uefi := image.FindUEFI(configs.BoardPC)
	_, tpm := launcher.FindSWTPM()
	if err := errors.Join(image.CheckTools(), uefi, tpm); err != nil {
		return c.fail(limited, err)
	}
	return c
}

func (a *app) checkState(ctx context.Context) check {
	c := check{Name: "state", Result: good}
	s, err := a.store()
	if err == nil {
		c.Found = s.Path()
		err = s.Check(ctx)
	}
	if errors.Is(err, fs.ErrPermission) {
		return c.fail(limited, err)
	}
	if err != nil {
		return c.fail(missing, err)
	}
	return c
}

// fail says that the check did not come out well. The error's text has its way
// out in it.
func (c check) fail(r result, err error) check {
	c.Result, c.Found = r, err.Error()
	return c
}
