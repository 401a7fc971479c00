package command

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/vmlaunch/vmlaunch/launcher"
)

// A manager is the service manager that has started us; nil if none wants to be
// told anything.
type manager struct{ socket *net.UnixAddr }

// serviceManager returns who listens on socket, the value of NOTIFY_SOCKET; see
// sd_notify(3). A name that begins with @ is in the abstract space.
func serviceManager(socket string) *manager {
	if socket == "" || socket[0] != '/' && socket[0] != '@' {
		return nil
	}
	return &manager{&net.UnixAddr{Name: socket, Net: "unixgram"}}
}

// tell tells the manager a state such as READY=1.
func (m *manager) tell(state string) error {
	if m == nil {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, m.socket)
	if err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(state)); err != nil {
		return fmt.Errorf("notify service manager: %w", err)
	}
	return nil
}

// watch tells the manager when the guest of the machine called name is ready, and,
// when end is called, that it stops.
func (m *manager) watch(ctx context.Context, l *launcher.Launcher, name string) (end func()) {
	if m == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var ready sync.WaitGroup
	ready.Go(func() {
		if err := l.Wait(ctx, name, launcher.ForReady); err != nil {
			return // it ended before, or the manager loses its patience
		}
		if err := m.tell("READY=1"); err != nil {
			l.Log.Warn("service manager is not told of readiness", "machine", name, "err", err)
		}
	})
	return func() {
		cancel()
		ready.Wait()
		if err := m.tell("STOPPING=1"); err != nil {
			l.Log.Warn("service manager is not told of the end", "machine", name, "err", err)
		}
	}
}
