// Vmlaunch starts QEMU machines whose vsock lives in the network namespace of
// your choice. See package command for its verbs.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/vmlaunch/vmlaunch/cmd/vmlaunch/command"
)

// version is set by the linker: see the Makefile.
var version = "unknown"

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		cancel() // the command takes back what it has not finished
		<-signals
		os.Exit(int(command.Interrupted)) // not even that
	}()
	host := command.Host{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Version: version}
	os.Exit(int(command.Run(ctx, host, os.Args[1:]...)))
}
