package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	vns "github.com/vishvananda/netns"
	"github.com/vmlaunch/vmlaunch/vsock"
	"golang.org/x/sys/unix"
)

// Create makes a network namespace of mode m and pins it under name. The
// caller closes the NS; the namespace stays until [Remove]. Of several racing
// creators of a name one wins. It holds nothing but a loopback interface, which
// is down.
//
// The vsock settings of existing namespaces are never written, above all not
// the write-once child_ns_mode of the host.
//
// On failure nothing is left behind. Create fails with [fs.ErrExist] if the
// name is taken, with [ErrBadName], with [fs.ErrPermission], for a local
// namespace on a kernel without modes with [errors.ErrUnsupported], and with a
// [*LockedError] if this host can't make a global one any more.
func Create(name string, m vsock.Mode) (*NS, error) {
	return CreateKnown(name, m, func(*NS) error { return nil })
}

// New makes a network namespace of mode m that has no name: it goes with the last
// descriptor, process and name that keep it. The caller closes the NS. It fails as
// [Create] does, but for names.
func New(m vsock.Mode) (*NS, error) {
	err := canHave(m)
	var f *os.File
	if err == nil {
		f, err = bear(m)
	}
	if err != nil {
		return nil, fmt.Errorf("create netns: %w", createError(err))
	}
	return identify(f)
}

// CreateKnown is [Create] for who must not lose a namespace: know is told of it
// before it gets its name, and can write down its ID. It is not called where the
// name is seen to be taken. If know fails, so does CreateKnown, and there is no
// namespace.
func CreateKnown(name string, m vsock.Mode, know func(*NS) error) (*NS, error) {
	if err := ValidName(name); err != nil {
		return nil, err
	}
	n, err := create(name, m, know)
	if err != nil {
		return nil, fmt.Errorf("create netns %q: %w", name, createError(err))
	}
	return n, nil
}

func create(name string, m vsock.Mode, know func(*NS) error) (*NS, error) {
	path, err := pinPath(name)
	if err != nil {
		return nil, err
	}
	if err := canHave(m); err != nil {
		return nil, err
	}
	if err := prepare(); err != nil {
		return nil, err
	}
	// Only to spare the work: setPin decides.
	if p, err := lookAt(path); err != nil {
		return nil, err
	} else if p != pinNone && p != pinHalf {
		return nil, errTaken
	}
	f, err := bear(m)
	if err != nil {
		return nil, err
	}
	n, err := identify(f)
	if err != nil {
		return nil, err
	}
	n.ref = name
	// The last step: what fails before leaves only descriptors, which are
	// closed and take the namespace with them.
	if err = know(n); err == nil {
		err = locked(func() error { return setPin(path, f) })
	}
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// canHave fails if no namespace of this kernel can have mode m.
func canHave(m vsock.Mode) error {
	if m != vsock.Global && m != vsock.Local {
		return fmt.Errorf("%v: %w", m, vsock.ErrBadMode)
	}
	has, err := vsock.Modes()
	if err != nil {
		return err
	}
	if m == vsock.Local && !has {
		return vsock.NoModes()
	}
	return nil
}

// bear makes a namespace of mode m that nothing but the returned descriptor
// keeps. It starts from the one this process is in and goes through another
// one where that can have no global children.
func bear(m vsock.Mode) (*os.File, error) {
	own, err := openFile(ownPath)
	if err != nil {
		return nil, err
	}
	defer own.Close()
	parent := &NS{f: own}
	f, err := parent.bear(m)
	if errors.Is(err, errOtherMode) && m == vsock.Global {
		return bearElsewhere()
	}
	return f, err
}

// errOtherMode says that a child of a namespace did not get the mode wanted.
var errOtherMode = errors.New("children of the namespace have the other vsock mode")

// bear makes a child of n that has mode m. It fails with [errOtherMode] if n
// can have no such children.
func (n *NS) bear(m vsock.Mode) (*os.File, error) {
	var f *os.File
	err := n.Do(func() error {
		h, err := unshare(m)
		if err == nil {
			f = os.NewFile(uintptr(h), "netns")
		}
		return err
	})
	return f, err
}

// unshare takes the calling thread into a new namespace of mode m. Where
// children are not local by themselves it goes through an intermediate
// namespace, in which it may write child_ns_mode because nobody else ever sees
// it; that one is gone when the thread leaves it.
//
// It looks at the result, not at the plan: child_ns_mode may change, or vsock
// be loaded anew, between any two steps.
func unshare(m vsock.Mode) (vns.NsHandle, error) {
	h, err := vns.New()
	if err != nil {
		return vns.None(), err
	}
	got, err := vsock.ModeHere()
	if err == nil && m == vsock.Local && got == vsock.Global {
		_ = h.Close() // of the intermediate one, which was only read
		if err := vsock.SetChildMode(vsock.Local); err != nil {
			return vns.None(), err
		}
		if h, err = vns.New(); err != nil {
			return vns.None(), err
		}
		got, err = vsock.ModeHere()
	}
	if err == nil && got != m {
		err = errOtherMode
	}
	if err != nil {
		return vns.None(), errors.Join(err, h.Close())
	}
	return h, nil
}

// createError gives the kernel's answer to making a namespace a way out.
func createError(err error) error {
	switch {
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: too many network namespaces (try: sysctl user.max_net_namespaces)", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (want root, or CAP_SYS_ADMIN and a /run of one's own)", err)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w: %w", fs.ErrPermission, err)
	case errors.Is(err, unix.ENOMEM):
		return fmt.Errorf("%w: the kernel has no memory for one more namespace", err)
	}
	return err
}
