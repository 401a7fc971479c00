package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

// An apt is the distribution's package client, working on one suite with lists,
// state and downloads of its own. Nothing of the system's package state is
// written; the system's proxies and certificates are used.
type apt struct {
	dir   string
	suite suite
}

// A pkg is one package in a suite.
type pkg struct{ name, version, sha256 string }

const aptHint = "this needs Debian or Ubuntu; elsewhere give a kernel file: --kernel PATH"

func (a *apt) run(ctx context.Context, dir string, args ...string) (string, error) {
	t := tool{args: args, dir: dir, need: "fetch packages of the distribution", hint: aptHint}
	if a != nil {
		t.env = []string{"APT_CONFIG=" + filepath.Join(a.dir, "apt.conf")}
	}
	out, err := t.run(ctx)
	return string(out), err
}

// systemTargets asks the system's own package client for its repositories.
func systemTargets(ctx context.Context) ([]target, error) {
	var system *apt
	out, err := system.run(ctx, "", "apt-get", "indextargets")
	if err != nil {
		return nil, err
	}
	if targets := parseTargets(out); len(targets) > 0 {
		return targets, nil
	}
	// No lists were fetched yet, as in a fresh container.
	out, err = system.run(ctx, "", "apt-get", "update", "--print-uris")
	return parseURIs(out), err
}

// openApt returns the client for a suite, its lists up to date. The caller
// calls done, once or more, when it has got what it wants.
func (c *Cache) openApt(ctx context.Context, s suite) (a *apt, done func(), err error) {
	dir := filepath.Join(c.dir, "apt", s.name)
	a = &apt{dir: dir, suite: s}
	for _, sub := range []string{"state", "cache"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, nil, err
		}
	}
	unlock, err := lock(ctx, filepath.Join(dir, ".lock"), func() {
		c.progress("waiting for another vmlaunch that fetches packages")
	})
	if err != nil {
		return nil, nil, err
	}
	if err := a.update(ctx); err != nil {
		unlock()
		return nil, nil, fmt.Errorf("package lists of %s: %w", s.name, err)
	}
	return a, sync.OnceFunc(unlock), nil
}

// update writes the client's configuration and fetches the lists. The client
// itself skips what hasn't changed.
func (a *apt) update(ctx context.Context) error {
	var system *apt
	dump, err := system.run(ctx, "", "apt-config", "dump")
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		"apt.conf":     a.config(dump),
		"sources.list": a.suite.line(),
		"state/status": "", // no package is installed
	} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	_, err = a.run(ctx, "", "apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any")
	return err
}

// config returns the client's configuration: our folders, the main index and
// nothing else, and from the system's own (as `apt-config dump` prints it) only
// how to reach the network. The system's hooks are left out on purpose: they
// clean the system's caches.
func (a *apt) config(system string) string {
	var b strings.Builder
	for _, s := range [][2]string{
		{"Dir::Etc::main", "/dev/null"},
		{"Dir::Etc::parts", "/dev/null"},
		{"Dir::Etc::sourcelist", filepath.Join(a.dir, "sources.list")},
		{"Dir::Etc::sourceparts", "/dev/null"},
		{"Dir::State", filepath.Join(a.dir, "state")},
		{"Dir::State::status", filepath.Join(a.dir, "state/status")},
		{"Dir::Cache", filepath.Join(a.dir, "cache")},
		{"Acquire::Languages", "none"},
		{"Acquire::Retries", "3"},
	} {
		fmt.Fprintf(&b, "%s %q;\n", s[0], s[1])
	}
	// One setting a line: a second one behind it could be a hook.
	network := regexp.MustCompile(`^Acquire::(http|https|socks5h|ForceIPv[46])\b[^"{};\s]* "[^"]*";$`)
	for line := range strings.Lines(system) {
		if line = strings.TrimSpace(line); network.MatchString(line) {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// search returns the packages whose whole name matches the expression.
func (a *apt) search(ctx context.Context, expr string) ([]string, error) {
	out, err := a.run(ctx, "", "apt-cache", "search", "--names-only", "^"+expr+"$")
	var names []string
	for line := range strings.Lines(out) {
		name, _, _ := strings.Cut(line, " ")
		names = append(names, name)
	}
	return names, err
}

// show returns what the lists say about packages that search has found.
func (a *apt) show(ctx context.Context, names ...string) ([]pkg, error) {
	out, err := a.run(ctx, "", append([]string{"apt-cache", "show", "--no-all-versions"}, names...)...)
	if err != nil {
		return nil, err
	}
	var all []pkg
	for para := range strings.SplitSeq(strings.TrimSpace(out), "\n\n") {
		f := fields(para)
		all = append(all, pkg{name: f["Package"], version: f["Version"], sha256: f["SHA256"]})
	}
	if len(all) != len(names) {
		return nil, fmt.Errorf("show packages %s: got %d answers, want %d", strings.Join(names, ", "), len(all), len(names))
	}
	return all, nil
}

// unpack downloads the packages and unpacks them over each other into dir/root.
// The client checks their digests; the downloads are removed.
func (a *apt) unpack(ctx context.Context, dir string, pkgs []pkg) (root string, err error) {
	debs, root := filepath.Join(dir, "debs"), filepath.Join(dir, "root")
	for _, d := range []string{debs, root} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return "", err
		}
	}
	args := []string{"apt-get", "download", "-q"}
	for _, p := range pkgs {
		args = append(args, p.name+"="+p.version)
	}
	if _, err := a.run(ctx, debs, args...); err != nil {
		return "", err
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return "", err
	}
	if len(files) != len(pkgs) {
		return "", fmt.Errorf("download of %d packages: got %d files", len(pkgs), len(files))
	}
	for _, f := range files {
		if _, err := a.run(ctx, "", "dpkg-deb", "-x", f, root); err != nil {
			return "", err
		}
	}
	return root, os.RemoveAll(debs)
}
