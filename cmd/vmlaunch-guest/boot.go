package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vmlaunch/vmlaunch/internal/agentconfig"
	"github.com/vmlaunch/vmlaunch/vsock"
)

// gcPercent lets the heap grow to 16 MiB before the first collection, which
// few guests reach: in an emulator, code that runs once is what costs.
const gcPercent = 400

// boot is PID 1: it sets the system up, serves until somebody asks for an end,
// and ends the machine. It does not return: what it can't do is told on the
// console, and the machine powered off, so that the host sees it end.
func boot() {
	con := console{os.Stderr}
	defer func() { // only reached by a panic
		con.printf("fatal: %v\n%s", recover(), debug.Stack())
		unix.Sync()
		_ = powerOff.cut()
	}()
	debug.SetGCPercent(gcPercent)
	raiseOpenFiles()
	changed := make(chan os.Signal, 1) // one that waits stands for any number of exits
	signal.Notify(changed, unix.SIGCHLD)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGUSR1, unix.SIGUSR2, unix.SIGTERM, unix.SIGINT, unix.SIGPWR)

	a := &agent{con: con, children: newReaper(), asked: make(chan ending, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	e := powerOff
	if err := a.setUp(ctx); err != nil {
		a.con.printf("fatal: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	} else {
		e = a.run(signals, changed)
	}
	cancel()
	a.con.printf("%s", e)
	a.closeListeners()
	stopProcesses(a.con, a.children, changed)
	a.waitParted()
	releaseDisks(a.con)
	err := e.cut()
	a.con.printf("fatal: %s: %v", e, err)
	panic(err) //nolint:forbidigo // ends in the deferred function: a last try to power off
}

// An agent is the state of PID 1.
type agent struct {
	con       console
	children  *reaper
	asked     chan ending // an end asked for by SSH
	server    *server
	listeners []net.Listener
}

// setUp makes the system usable and starts the services.
func (a *agent) setUp(ctx context.Context) error {
	if err := mountAll(a.con, mounts()); err != nil {
		return err
	}
	a.con = openConsole()
	linkStreams()
	f, err := os.Open(agentconfig.Path)
	if err != nil {
		return err
	}
	cfg, err := agentconfig.Read(f)
	f.Close()
	if err != nil {
		return err
	}
	if err := loadModules(cfg.Modules); err != nil {
		return err
	}
	if err := mountAll(a.con, folders(cfg.Mounts)); err != nil {
		return err
	}
	if err := setHostname(cfg.Hostname); err != nil {
		return err
	}
	if err := setUpNetwork(ctx, cfg.Network); err != nil {
		return err
	}
	if err := setUpNetworks(ctx, cfg.Networks); err != nil {
		return err
	}
	return a.serve(ctx, cfg)
}

// serve starts the services; they end when the process does.
func (a *agent) serve(ctx context.Context, cfg agentconfig.Config) error {
	var err error
	if a.server, err = newServer(cfg, a.con, a.children, a.ask); err != nil {
		return err
	}
	for _, s := range cfg.Listen {
		l, err := listen(ctx, s)
		if err != nil {
			return err
		}
		a.listeners = append(a.listeners, l)
		go a.server.serve(l) //nolint:contextcheck // ends with the machine
	}
	go func() { // ends with the machine
		if err := watchButton(func() { a.ask(powerOff) }); !errors.Is(err, errNoACPIEvents) {
			a.con.printf("%v", err)
		}
	}()
	if cfg.EchoPort != 0 {
		l, err := vsock.Listen(cfg.EchoPort)
		if err != nil {
			return fmt.Errorf("echo: %w", err)
		}
		a.listeners = append(a.listeners, l)
		go serveEcho(a.con, l)
	}
	if cfg.ForwardPort != 0 {
		l, err := vsock.Listen(cfg.ForwardPort)
		if err != nil {
			return fmt.Errorf("forward: %w", err)
		}
		a.listeners = append(a.listeners, l)
		go a.server.serveForward(ctx, l)
	}
	if cfg.Notify != "" {
		to, err := agentconfig.ParseNotify(cfg.Notify)
		if err != nil {
			return err
		}
		go notify(ctx, to, readyMessage(cfg.Listen))
	}
	a.con.printf("ssh on %s", strings.Join(cfg.Listen, " "))
	return nil
}

// listen opens one of the configured addresses.
func listen(ctx context.Context, s string) (net.Listener, error) {
	addr, err := agentconfig.ParseAddress(s)
	if err != nil {
		return nil, err
	}
	if addr.Network == "vsock" {
		l, err := vsock.Listen(addr.Port)
		if err != nil {
			return nil, err
		}
		return l, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr.HostPort())
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", s, err)
	}
	return l, nil
}

// run reaps until an end is asked for, by a signal or by SSH.
func (a *agent) run(signals, changed <-chan os.Signal) ending {
	for {
		select {
		case <-changed:
			if _, err := a.children.reap(); err != nil {
				a.con.printf("%v", err)
			}
		case sig := <-signals:
			return endingOf(sig)
		case e := <-a.asked:
			return e
		}
	}
}

// ask asks for an end of the machine. The first to ask is heard.
func (a *agent) ask(e ending) {
	select {
	case a.asked <- e:
	default:
	}
}

func (a *agent) closeListeners() {
	for _, l := range a.listeners {
		_ = l.Close() // the machine ends: nothing depends on it
	}
}

// waitParted gives the SSH clients [partGrace] to take leave.
func (a *agent) waitParted() {
	if a.server == nil {
		return
	}
	parted := make(chan struct{})
	go func() { // ends with the last client, or with the machine
		a.server.open.Wait()
		close(parted)
	}()
	select {
	case <-parted:
	case <-time.After(partGrace):
	}
}
