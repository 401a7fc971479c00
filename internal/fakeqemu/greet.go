package fakeqemu

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// greet waits for the first byte of what serves a vhost-user device, in place of
// the protocol. It fails, with QEMU's complaint, if that is gone.
func greet(g group) (*os.File, error) {
	n, err := strconv.Atoi(g["fd"])
	if err != nil {
		return nil, errors.New("only a connected fd is faked")
	}
	f := os.NewFile(uintptr(n), "fd "+g["fd"])
	if _, err := io.ReadFull(f, make([]byte, 1)); err != nil {
		return nil, fmt.Errorf("Failed to read msg header. Read 0 instead of 12. Original request 1: %w", err)
	}
	return f, nil
}
