package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/vmlaunch/vmlaunch/configs"
	"github.com/vmlaunch/vmlaunch/forward"
	"github.com/vmlaunch/vmlaunch/netns"
	"github.com/vmlaunch/vmlaunch/store"
)

// forwarder is the name of the daemon that serves a machine's ports.
const forwarder = "ports"

// The descriptors that the daemon inherits: the end of a pipe whose other end QEMU
// has, which so tells when QEMU has ended, and the listeners in the order of the ports.
const (
	fdLife        = 3
	fdFirstListen = 4
)

// A Forwarding is one forward that listens.
type Forwarding struct {
	configs.Forward // with the port that the system chose, if one was to be chosen
	Listener        net.Listener
}

// Listen listens for f in the caller's own namespace. The caller closes the
// listener. A Unix socket that nobody listens on any more is replaced. It fails with a
// [*ListenError].
func Listen(ctx context.Context, f configs.Forward) (Forwarding, error) {
	var lc net.ListenConfig
	address := f.Listen.Path
	if f.Listen.Network == configs.NetworkTCP {
		address = f.Listen.HostPort()
	} else {
		removeSocket(f.Listen.Path)
	}
	l, err := lc.Listen(ctx, f.Listen.Network, address)
	if err != nil {
		return Forwarding{}, &ListenError{f, bareNet(err)}
	}
	return forwarding(f, l), nil
}

// forwarding returns f with the port that l has.
func forwarding(f configs.Forward, l net.Listener) Forwarding {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		f.Listen.Port = uint32(a.Port)
	}
	return Forwarding{f, l}
}

// bareNet returns the cause of an error of package net without what it repeats.
func bareNet(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Err
	}
	return err
}

// A ListenError says why a forward can't listen. Where somebody else listens,
// errors.Is(err, fs.ErrExist) holds.
type ListenError struct {
	Forward configs.Forward
	Cause   error
}

func (e *ListenError) Error() string {
	hint := ""
	switch {
	case errors.Is(e.Cause, syscall.EADDRINUSE) && e.Forward.Listen.Network == configs.NetworkUnix:
		hint = "a file or another program is there"
	case errors.Is(e.Cause, syscall.EADDRINUSE):
		hint = "another program listens there; an empty port, as :80, has a free one chosen"
	case errors.Is(e.Cause, syscall.EADDRNOTAVAIL):
		hint = "no interface here has that address"
	case errors.Is(e.Cause, fs.ErrPermission) && e.Forward.Listen.Network == configs.NetworkTCP:
		hint = "ports below 1024 want CAP_NET_BIND_SERVICE"
	}
	return fmt.Sprintf("listen for %s: %v%s", e.Forward, e.Cause, bracket(hint))
}

// Is makes a listener that is taken an [fs.ErrExist].
func (e *ListenError) Is(target error) bool {
	return target == fs.ErrExist && errors.Is(e.Cause, syscall.EADDRINUSE)
}

// Unwrap returns the cause.
func (e *ListenError) Unwrap() error { return e.Cause }

// startForwarder listens on the machine's ports and starts the daemon that passes on
// what comes. The listeners are there before QEMU is: a port that is taken fails the
// launch, and who connects early waits.
func (a *attempt) startForwarder(ctx context.Context) error {
	if len(a.rec.Spec.Ports) == 0 {
		return nil
	}
	if len(a.l.Self) == 0 {
		return fmt.Errorf("serve ports of machine %q: %w (the launcher does not know its own program)", a.rec.Name, errors.ErrUnsupported)
	}
	life, ends, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("serve ports of machine %q: %w", a.rec.Name, err)
	}
	files := []*os.File{life}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	a.pass(ends)
	var served []string
	for _, s := range a.rec.Spec.Ports {
		f, err := configs.ParseForward(s)
		if err != nil {
			return err // Validate has looked
		}
		one, err := Listen(ctx, f)
		if err != nil {
			return fmt.Errorf("machine %q: %w", a.rec.Name, err)
		}
		if f.Listen.Network == configs.NetworkUnix {
			one.Listener.(*net.UnixListener).SetUnlinkOnClose(false)
			a.back.Push("socket "+f.Listen.Path, func(context.Context) error { removeSocket(f.Listen.Path); return nil })
		}
		file, err := one.Listener.(interface{ File() (*os.File, error) }).File()
		one.Listener.Close()
		if err != nil {
			return fmt.Errorf("machine %q: forward %s: %w", a.rec.Name, f, err)
		}
		files = append(files, file)
		served = append(served, one.String())
	}
	text, err := json.Marshal(served)
	if err == nil {
		err = os.WriteFile(a.files.ports(), text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("machine %q: %w", a.rec.Name, err)
	}
	args := slices.Concat(a.l.Self[1:], []string{ServePortsVerb, a.rec.Name, a.rec.UUID})
	return a.startDaemon(daemon{name: forwarder, path: a.l.Self[0], args: args, files: files})
}

// Ports returns the forwards that are served for the machine called name, with the
// ports that the system chose. It is empty for a machine that is down.
func (l *Launcher) Ports(name string) []string {
	served := []string{}
	text, err := os.ReadFile(l.folder(name).ports())
	if err != nil || json.Unmarshal(text, &served) != nil {
		return []string{}
	}
	return served
}

// ServePortsVerb is the command that calls [Launcher.ServePorts].
const ServePortsVerb = "serve-ports"

// ServePorts is the daemon that serves the declared ports of one run of the machine
// called name. It is in the machine's namespace and has inherited what it needs. It
// returns nil when the run's QEMU has ended, and fails with [fs.ErrNotExist] if
// the record is of another run.
func (l *Launcher) ServePorts(ctx context.Context, name, uuid string, say func(string)) error {
	m, err := l.record(ctx, name)
	if err == nil && m.UUID != uuid {
		err = fmt.Errorf("machine %q, run %s: %w", name, uuid, fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	ns, err := netns.Open("/proc/self/ns/net")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	life := os.NewFile(fdLife, "life of qemu")
	watched := make(chan struct{})
	go func() { // ends with QEMU, or with the file
		defer close(watched)
		_, _ = life.Read(make([]byte, 1))
		cancel()
	}()
	defer func() { _ = life.Close(); <-watched }()
	r, err := l.newRoute(m, ns, func() bool { return ctx.Err() == nil })
	if err != nil {
		return err
	}
	defer r.Close()
	all, err := inherit(m)
	if err != nil {
		return err
	}
	defer removeSockets(m.Spec)
	err = r.Serve(ctx, all, say)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// inherit returns the forwards whose listeners this process was given.
func inherit(m store.Machine) ([]Forwarding, error) {
	var all []Forwarding
	for i, s := range m.Spec.Ports {
		f, err := configs.ParseForward(s)
		if err != nil {
			return nil, err
		}
		file := os.NewFile(uintptr(fdFirstListen+i), "listener "+strconv.Itoa(i))
		l, err := net.FileListener(file)
		_ = file.Close()
		if err != nil {
			return nil, fmt.Errorf("forward %s: %w", f, err)
		}
		all = append(all, forwarding(f, l))
	}
	return all, nil
}

// Serve passes on what comes to each of all, until ctx ends. It takes the listeners
// over. Say is told of connections that could not be made, one line each, and not twice
// the same in a row. Serve fails with ctx's error, and with that of a listener.
func (r *Route) Serve(ctx context.Context, all []Forwarding, say func(string)) error {
	most, err := forward.Most()
	if err != nil {
		return err
	}
	relay := forward.NewRelay(most)
	defer relay.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	say = onceEach(say)
	var serving sync.WaitGroup
	for _, f := range all {
		s := forward.Server{
			Listener: f.Listener, Relay: relay,
			Handle: r.handler(relay, f.Target),
			Say:    func(text string) { say(f.String() + ": " + text) },
		}
		serving.Go(func() { cancel(s.Serve(ctx)) })
	}
	serving.Wait()
	return context.Cause(ctx)
}

// onceEach leaves out a line that is the one before, and makes a line of what has
// several: a path may.
func onceEach(say func(string)) func(string) {
	var mu sync.Mutex
	last := ""
	return func(text string) {
		mu.Lock()
		defer mu.Unlock()
		text = strings.ReplaceAll(text, "\n", `\n`)
		if text != last {
			last = text
			say(text)
		}
	}
}

// removeSockets removes the Unix sockets of a machine's ports that nobody serves any
// more: who was to serve them was killed, perhaps.
func removeSockets(spec configs.Machine) {
	for _, s := range spec.Ports {
		if f, err := configs.ParseForward(s); err == nil && f.Listen.Network == configs.NetworkUnix {
			removeSocket(f.Listen.Path)
		}
	}
}

// removeSocket removes a socket that nobody listens on. Anything else stays: to
// listen there fails then.
func removeSocket(path string) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close()
		return
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		_ = os.Remove(path) // somebody else may have been quicker
	}
}
