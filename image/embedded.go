package image

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
)

// embedded holds what make built into the folder of that name, and the light
// kernel's configuration.
//
//go:embed embedded light.config
var embedded embed.FS

const (
	agentFile = "vmlaunch-guest"
	probeFile = "probe.rom"
)

// A MissingError says what this host or this build lacks, and how to get it.
// errors.Is(err, errors.ErrUnsupported) holds.
type MissingError struct {
	What string // the thing that is missing
	Need string // what it is needed for
	Hint string // what to try
}

func (e *MissingError) Error() string {
	s := "no " + e.What
	if e.Need != "" {
		s += ", needed to " + e.Need
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Is makes every MissingError an [errors.ErrUnsupported].
func (e *MissingError) Is(target error) bool { return target == errors.ErrUnsupported }

// Agent returns the static guest agent that this program carries. It fails
// with a [*MissingError] in a program that was not built by make.
func Agent() ([]byte, error) { return builtIn(agentFile, "boot a linux guest") }

// ProbeROM returns the firmware of the probe guest that this program carries.
// It fails with a [*MissingError] in a program that was not built by make.
func ProbeROM() ([]byte, error) { return builtIn(probeFile, "boot a probe guest") }

func builtIn(name, need string) ([]byte, error) {
	b, err := embedded.ReadFile("embedded/" + name)
	if err != nil || len(b) == 0 {
		return nil, &MissingError{What: name + " in this build", Need: need, Hint: "build with: make"}
	}
	return b, nil
}

// Probe returns the path of the probe guest's firmware, written to the cache
// by digest. It fails with a [*MissingError] in a program that was not built
// by make, and with ctx's error.
func (c *Cache) Probe(ctx context.Context) (string, error) {
	rom, err := ProbeROM()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(rom)
	key := hex.EncodeToString(sum[:])[:digestLen] + ".rom"
	path, err := c.entry(ctx, "probe", key, func(tmp string) error {
		return os.WriteFile(tmp, rom, 0o644)
	})
	if err != nil {
		return "", fmt.Errorf("cache probe guest: %w", err)
	}
	return path, nil
}
