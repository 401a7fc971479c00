package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// notifyEvery is how often the host is tried while nobody listens there. Who
// asks later whether this machine is ready hears it after that time at most.
const notifyEvery = time.Second

// notifyTime bounds one try. The kernel's own bound for a connect is 2 s; the
// rest is for a slow listener.
const notifyTime = 10 * time.Second

// readyMessage is what the host gets once SSH is served, see sd_notify(3). The
// X_ line is ours: where to reach the machine.
func readyMessage(listen []string) string {
	var b strings.Builder
	b.WriteString("READY=1\nSTATUS=ready, ssh on " + strings.Join(listen, " ") + "\n")
	for _, s := range listen {
		b.WriteString("X_VMLAUNCH_SSH=" + s + "\n")
	}
	return b.String()
}

// notify sends message to the host until it has got through or ctx ends.
func notify(ctx context.Context, to agentconfig.Notify, message string) {
	again := time.NewTicker(notifyEvery)
	defer again.Stop()
	for notifyOnce(ctx, to, message) != nil { // that nobody listens now is usual
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// notifyOnce fails unless the host has confirmed that it read the message.
func notifyOnce(ctx context.Context, to agentconfig.Notify, message string) error {
	ctx, cancel := context.WithTimeout(ctx, notifyTime)
	defer cancel()
	conn, err := vsock.Dial(ctx, vsock.CID(to.CID), to.Port)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	return tell(conn, message)
}

// tell writes message and waits for the answer. Without waiting it could be
// lost: the kernel takes connections for a listener that never looks at them.
func tell(conn io.ReadWriter, message string) error {
	if _, err := io.WriteString(conn, message); err != nil {
		return err
	}
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("notify: a %T can't be half closed", conn)
	}
	if err := half.CloseWrite(); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}
