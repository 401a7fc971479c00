package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
)

func TestAttachCarriesBothWays(t *testing.T) {
	console, qemu := net.Pipe()
	heard := make(chan string, 1)
	go func() {
		line := make([]byte, 3)
		_, err := io.ReadFull(qemu, line)
		if err == nil {
			_, err = qemu.Write([]byte("login: "))
		}
		heard <- string(line)
		if err != nil {
			heard <- err.Error()
		}
		qemu.Close()
	}()
	var out bytes.Buffer
	if err := attach(t.Context(), console, strings.NewReader("ls\r"), &out); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "ls\r" || out.String() != "login: " {
		t.Errorf("guest heard %q, we %q", got, out.String())
	}
}

// TestAttachLeavesNoReader ends an attach whose input is a pipe that nobody
// writes to, as that of a service: it must neither hang nor eat what comes.
func TestAttachLeavesNoReader(t *testing.T) {
	in, typed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer typed.Close()
	console, qemu := net.Pipe()
	qemu.Close()
	if err := attach(t.Context(), console, in, io.Discard); err != nil {
		t.Fatal(err)
	}
	stacks := make([]byte, 1<<20)
	if stacks = stacks[:runtime.Stack(stacks, true)]; bytes.Contains(stacks, []byte("sendTyped")) {
		t.Errorf("a reader is left:\n%s", stacks)
	}
	if _, err := typed.WriteString("next"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(in, got); err != nil || string(got) != "next" {
		t.Errorf("the next reader got %q, %v", got, err)
	}
}

func TestAttachEndsWithItsContext(t *testing.T) {
	console, qemu := net.Pipe()
	defer qemu.Close()
	ctx, cancel := cancelled(t)
	defer cancel()
	err := attach(ctx, console, strings.NewReader(""), io.Discard)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want it cancelled", err)
	}
}
