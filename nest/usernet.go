package nest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vmlaunch/vmlaunch/qmp"
)

// forwardedPort asks QEMU which port of this host it forwards to the agent.
func forwardedPort(ctx context.Context, m *qmp.Client) (int, error) {
	text, err := m.HMP(ctx, "info usernet")
	if err != nil {
		return 0, fmt.Errorf("ask qemu for its port: %w", err)
	}
	port, err := parseUsernet(text)
	if err != nil {
		return 0, fmt.Errorf("ask qemu for its port: %w", err)
	}
	return port, nil
}

// parseUsernet finds the forwarded TCP port in what QEMU's "info usernet"
// prints: a table whose columns are protocol, descriptor, source address, source
// port and so on. QMP has no command for it.
func parseUsernet(text string) (int, error) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || f[0] != "TCP[HOST_FORWARD]" {
			continue
		}
		port, err := strconv.ParseUint(f[3], 10, 16)
		if err != nil || port == 0 {
			return 0, fmt.Errorf("port %q in %q: want a number", f[3], strings.TrimSpace(line))
		}
		return int(port), nil
	}
	return 0, errors.New("no forwarded port in the answer")
}
