package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// loadModules loads kernel modules in the order given. One that is loaded (or
// built in) already is fine. It fails at the first that can't be loaded.
func loadModules(paths []string) error {
	for _, p := range paths {
		if err := loadModule(p); err != nil {
			return fmt.Errorf("load module %s: %w", p, err)
		}
	}
	return nil
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return errors.Unwrap(err)
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), "", moduleFlags(path))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// moduleFlags asks the kernel to unpack a compressed module itself, which it
// can since Linux 5.17 if built so (CONFIG_MODULE_DECOMPRESS).
func moduleFlags(path string) int {
	if strings.HasSuffix(path, ".ko") {
		return 0
	}
	return unix.MODULE_INIT_COMPRESSED_FILE
}
