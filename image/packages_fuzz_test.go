package image

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// FuzzFields asks that a paragraph of apt's means what stands in it, and never
// more than one line.
func FuzzFields(f *testing.F) {
	f.Add("Package: a\nVersion: 1: 2\nPackage: b\n more\n")
	f.Fuzz(func(t *testing.T, para string) {
		for key, value := range fields(para) {
			i := strings.Index("\n"+para, "\n"+key+": "+value)
			if i < 0 || strings.Contains(key+value, "\n") || strings.Contains("\n"+para[:i], "\n"+key+": ") {
				t.Errorf("%q: %q is %q", para, key, value)
			}
		}
	})
}

// FuzzTargets reads what apt prints about its repositories, in both forms, and
// asks that each can be one line of a sources list.
func FuzzTargets(f *testing.F) {
	f.Add(targetsText)
	f.Add(urisText)
	f.Fuzz(func(t *testing.T, text string) {
		for _, all := range [][]target{parseTargets(text), parseURIs(text)} {
			for _, g := range all {
				line := suite{mirror: g.mirror, name: g.suite, keyring: "/k"}.line()
				if strings.Count(line, "\n") != 1 || !strings.Contains(text, strings.TrimSuffix(g.mirror, "/")) || !strings.Contains(text, g.suite) {
					t.Errorf("%q: %q from %+v", text, line, g)
				}
			}
		}
		for _, g := range parseURIs(text) {
			if !strings.Contains(text, g.mirror+"dists/"+g.suite+"/InRelease") || strings.ContainsAny(g.mirror+g.suite, " \t") {
				t.Errorf("%q: got %+v", text, g)
			}
		}
	})
}

// FuzzParseRelease asks that values have lost their quotes and nothing else.
func FuzzParseRelease(f *testing.F) {
	f.Add("ID=debian\nVERSION_CODENAME=\"trixie\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := parseRelease(text)
		for _, s := range []string{r.id, r.codename} {
			if strings.Trim(s, `"'`) != s || strings.Contains(s, "\n") || !strings.Contains(text, s) {
				t.Errorf("%q: got %+v", text, r)
			}
		}
	})
}

// FuzzAptConfig asks that our configuration, given as the system's, stays what
// it is, and that all the system adds is about the network.
func FuzzAptConfig(f *testing.F) {
	f.Add("Acquire::http::Proxy \"http://proxy.example:3128\";\nDPkg::Pre-Invoke:: \"x\";\n")
	f.Fuzz(func(t *testing.T, system string) {
		a := &apt{dir: "/cache/apt/x"}
		got := a.config(system)
		if again := a.config(got); again != got {
			t.Errorf("%q: got\n%sand of that\n%s", system, got, again)
		}
		added, ok := strings.CutPrefix(got, a.config(""))
		if !ok {
			t.Errorf("%q: ours is not in it: %q", system, got)
		}
		for line := range strings.Lines(added) {
			if !strings.HasPrefix(line, "Acquire::") || !strings.HasSuffix(line, "\";\n") || strings.Count(line, "\"") != 2 {
				t.Errorf("%q: adds %q", system, line)
			}
		}
	})
}

// FuzzCompareVersions asks for an order: the same both ways, and no circle.
func FuzzCompareVersions(f *testing.F) {
	f.Add("7.3.4+deb13", "7.30", "6.12")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, bc, ac := compareVersions(a, b), compareVersions(b, c), compareVersions(a, c)
		if sign(ab) != -sign(compareVersions(b, a)) || compareVersions(a, a) != 0 {
			t.Errorf("%q and %q: %d, the other way %d", a, b, ab, compareVersions(b, a))
		}
		if ab <= 0 && bc <= 0 && ac > 0 || ab >= 0 && bc >= 0 && ac < 0 {
			t.Errorf("%q, %q, %q: %d, %d, and yet %d", a, b, c, ab, bc, ac)
		}
	})
}

// FuzzChooseKernel asks that what is taken was there, is of the version, and
// would have been found by the pattern that package names are searched with.
func FuzzChooseKernel(f *testing.F) {
	f.Add(strings.Join(packageNames(), "\n"), "7.3")
	f.Fuzz(func(t *testing.T, text, prefix string) {
		names := strings.Split(text, "\n")
		versions := kernelVersions(names)
		if !slices.IsSortedFunc(versions, compareVersions) {
			t.Errorf("%q is not sorted", versions)
		}
		version, packages := chooseKernel(names, prefix)
		if version == "" {
			if len(packages) > 0 {
				t.Errorf("%q: no version, and yet %q", text, packages)
			}
			return
		}
		pattern, err := regexp.Compile("(?s)^" + packagePattern(prefix) + "$")
		if err != nil || !strings.HasPrefix(version, prefix) || !slices.Contains(versions, version) {
			t.Fatalf("%q: %q for %q, %v", text, version, prefix, err)
		}
		for _, p := range packages {
			if !slices.Contains(names, p) || !strings.Contains(p, version) || !pattern.MatchString(p) {
				t.Errorf("%q: package %q for %q", text, p, prefix)
			}
		}
	})
}

// FuzzLostOptions reads a kernel's configuration. What can be lost is what was
// asked for, and comments are nothing.
func FuzzLostOptions(f *testing.F) {
	f.Add("CONFIG_A=y\nCONFIG_B=n\n", "# CONFIG_B is not set\nCONFIG_A=m\n")
	f.Fuzz(func(t *testing.T, fragment, config string) {
		lines := optionLines(fragment)
		if again := optionLines(lines); again != lines || strings.Contains("\n"+lines, "\n#") || strings.Contains("\n"+lines, "\n\n") {
			t.Errorf("%q: got %q, and of that %q", fragment, lines, again)
		}
		lost := lostOptions(fragment, config)
		for _, l := range lost {
			if !strings.Contains("\n"+lines, "\n"+l+"\n") {
				t.Errorf("%q: lost %q, which nobody wanted", fragment, l)
			}
		}
		if d := lostOptions(lines, optionLines(config)); !slices.Equal(d, lost) {
			t.Errorf("%q, %q: lost %q, and without comments %q", fragment, config, lost, d)
		}
	})
}
