// Vmlaunch starts QEMU machines whose vsock lives in the network namespace of
// your choice. See package command for its verbs.
package main

import (
	"context"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/vmlaunch/vmlaunch/cmd/vmlaunch/command"
)

// version is set by the linker: see the Makefile.
var version = "unknown"

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, interrupts()...)
	go func() {
		<-signals
		cancel() // the command takes back what it has not finished
		<-signals
		os.Exit(int(command.Interrupted)) // not even that
	}()
	host := command.Host{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Version: version}
	os.Exit(int(command.Run(ctx, host, os.Args[1:]...)))
}

// interrupts returns the signals that end a command. One that the caller has us
// ignore stays ignored: that is how nohup and a script's background jobs work.
func interrupts() []os.Signal {
	return slices.DeleteFunc([]os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP}, signal.Ignored)
}
