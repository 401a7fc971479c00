package main

import (
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"
)

// TestNohup asks that a signal we were started to ignore does not end us.
func TestNohup(t *testing.T) {
	if !signal.Ignored(syscall.SIGHUP) { // nohup may have started this test too
		signal.Ignore(syscall.SIGHUP)
		defer signal.Reset(syscall.SIGHUP)
	}
	if got := interrupts(); slices.Contains(got, os.Signal(syscall.SIGHUP)) || !slices.Contains(got, os.Signal(syscall.SIGTERM)) {
		t.Errorf("got %v, want SIGTERM but not SIGHUP", got)
	}
}
