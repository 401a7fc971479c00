package image

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const targetsText = `MetaKey: main/i18n/Translation-en
Identifier: Translations
Component: main
Repo-URI: http://mirror.example/debian/
Release: bookworm

MetaKey: main/binary-amd64/Packages
Identifier: Packages
Description: http://mirror.example/debian-security bookworm-security/main amd64 Packages
Repo-URI: http://mirror.example/debian-security/
Origin: Debian
Component: main
Release: bookworm-security

Identifier: Packages
Component: main
Origin: Vendor
Repo-URI: http://vendor.example/apt/
Release: bookworm

Identifier: Packages
Component: contrib
Origin: Debian
Repo-URI: http://contrib.example/debian/
Release: bookworm

Identifier: Packages
Component: main
Origin: Debian
Repo-URI: http://mirror.example/debian/
Release: bookworm
`

const urisText = `'http://mirror.example/debian-security/dists/bookworm-security/InRelease' mirror.example_x 0 
'http://mirror.example/debian/dists/bookworm/InRelease' mirror.example_y 0 
'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' mirror.example_z 0 

`

// TestMirrorIsTheSystemsOwn: with lists and before the first update, and never
// a vendor's repository that has the same suite.
func TestMirrorIsTheSystemsOwn(t *testing.T) {
	debian := parseRelease("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n")
	if debian != (release{"debian", "bookworm"}) {
		t.Errorf("release: got %+v", debian)
	}
	for name, targets := range map[string][]target{"lists": parseTargets(targetsText), "no lists yet": parseURIs(urisText)} {
		if mirror, ok := mirrorOf(debian, targets); !ok || mirror != "http://mirror.example/debian/" {
			t.Errorf("%s: got %q, %v from %+v", name, mirror, ok, targets)
		}
	}
	if mirror, ok := mirrorOf(release{"debian", "sid"}, parseTargets(targetsText)); ok {
		t.Errorf("other release: got %q, want none", mirror)
	}
}

func TestSuiteNames(t *testing.T) {
	debian := release{"debian", "trixie"}
	tests := map[string]struct {
		r    release
		want string
	}{
		"7.3":    {debian, "trixie-backports trixie"},
		"7":      {debian, "trixie-backports trixie"},
		"6.12":   {debian, "trixie bookworm-backports"},
		"6.12.1": {debian, "trixie bookworm-backports"},
		"6.1":    {debian, "bookworm"},
		"6.1.5":  {debian, "bookworm"},
		"6.14":   {release{"ubuntu", "noble"}, "noble-updates noble noble-security"},
	}
	for version, tt := range tests {
		if got := strings.Join(suiteNames(tt.r, version), " "); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.r.id, version, got, tt.want)
		}
	}
}

func TestUnknownDistributionSaysTheWayOut(t *testing.T) {
	_, err := suites(release{"fedora", ""}, nil, "7.3")
	if want := `no known kernel packages for distribution "fedora", needed to fetch a kernel (give a kernel file: --kernel PATH)`; !errors.Is(err, errors.ErrUnsupported) || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// names as the suites really have them: signed and not, other flavours, debug
// packages, and versions of which only some packages are left.
func packageNames() []string {
	return []string{
		"linux-binary-7.3.4+deb13-amd64", "linux-binary-7.3.4+deb13-cloud-amd64", "linux-binary-unsigned-7.3.4+deb13-cloud-amd64",
		"linux-modules-7.3.4+deb13-cloud-amd64", "linux-base-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-amd64",
		"linux-binary-7.2.9+deb13-cloud-amd64", "linux-modules-7.2.9+deb13-cloud-amd64",
		"linux-binary-7.2.12+deb13-cloud-amd64", "linux-modules-7.2.12+deb13-cloud-amd64",
		"linux-binary-7.2.13+deb14-cloud-amd64", "linux-binary-7.30.1+deb13-cloud-amd64",
		"linux-image-6.12.94+deb13-cloud-amd64-unsigned", "linux-image-6.12.107+deb13-cloud-amd64",
		"linux-image-6.12.107+deb13-cloud-amd64-unsigned", "linux-image-6.12.107+deb13-cloud-amd64-dbg",
		"linux-image-unsigned-6.14.0-9-generic", "linux-modules-6.14.0-9-generic", "linux-image-unsigned-6.14.0-10-generic",
		"linux-modules-6.14.0-10-generic", "linux-modules-extra-6.14.0-10-generic",
	}
}

func TestChooseKernel(t *testing.T) {
	tests := map[string]struct {
		version  string
		packages []string
	}{
		"7.3":    {"7.3.4+deb13-cloud-amd64", []string{"linux-binary-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64", "linux-base-7.3.4+deb13-cloud-amd64"}},
		"7.2":    {"7.2.12+deb13-cloud-amd64", []string{"linux-binary-7.2.12+deb13-cloud-amd64", "linux-modules-7.2.12+deb13-cloud-amd64"}},
		"7.2.9":  {"7.2.9+deb13-cloud-amd64", []string{"linux-binary-7.2.9+deb13-cloud-amd64", "linux-modules-7.2.9+deb13-cloud-amd64"}},
		"6.12":   {"6.12.107+deb13-cloud-amd64", []string{"linux-image-6.12.107+deb13-cloud-amd64-unsigned"}},
		"6.14":   {"6.14.0-10-generic", []string{"linux-image-unsigned-6.14.0-10-generic", "linux-modules-6.14.0-10-generic"}},
		"7.2.13": {}, // its modules are gone
		"7.30":   {},
		"8":      {},
	}
	for prefix, tt := range tests {
		t.Run(prefix, func(t *testing.T) {
			version, packages := chooseKernel(packageNames(), prefix)
			if version != tt.version {
				t.Errorf("got version %q, want %q", version, tt.version)
			}
			if diff := cmp.Diff(tt.packages, packages); diff != "" {
				t.Errorf("packages (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCompareVersions(t *testing.T) {
	ascending := []string{"6.1.5", "6.12", "6.12.9+deb13", "6.12.10+deb12", "6.12.10+deb13", "7.2.12", "7.3", "7.3.4", "7.30"}
	for i, a := range ascending {
		for j, b := range ascending {
			if got, want := sign(compareVersions(a, b)), sign(i-j); got != want {
				t.Errorf("compareVersions(%q, %q): got %d, want %d", a, b, got, want)
			}
		}
	}
	shuffled := []string{"7.3", "6.12.10+deb13", "7.30", "6.1.5"}
	slices.SortFunc(shuffled, compareVersions)
	if want := []string{"6.1.5", "6.12.10+deb13", "7.3", "7.30"}; !slices.Equal(shuffled, want) {
		t.Errorf("sorted: got %q, want %q", shuffled, want)
	}
}

func sign(n int) int { return min(1, max(-1, n)) }

// TestAptConfigKeepsOut: of the system's configuration only the network's way
// is taken. Its hooks would clean the system's package cache.
func TestAptConfigKeepsOut(t *testing.T) {
	system := `APT::Update::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb || true";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::CaInfo "/etc/ssl/own.pem";
Acquire::IndexTargets::deb::DEP-11::MetaKey "$(COMPONENT)/dep11";
Acquire::ForceIPv4 "true";
Acquire::http "";
Dir::State "var/lib/apt";
`
	got := (&apt{dir: "/cache/apt/x"}).config(system)
	for _, want := range []string{
		`Acquire::http::Proxy "http://proxy.example:3128";`, `Acquire::https::CaInfo "/etc/ssl/own.pem";`, `Acquire::ForceIPv4 "true";`,
		`Dir::State "/cache/apt/x/state";`, `Dir::Etc::parts "/dev/null";`, `Acquire::Languages "none";`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("lacks %s\n%s", want, got)
		}
	}
	for _, unwanted := range []string{"Post-Invoke", "DEP-11", `"var/lib/apt"`} {
		if strings.Contains(got, unwanted) {
			t.Errorf("has %s\n%s", unwanted, got)
		}
	}
	line := suite{mirror: "http://mirror.example/debian/", name: "trixie", keyring: "/k.gpg"}.line()
	if want := "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ trixie main\n"; line != want {
		t.Errorf("sources list: got %q, want %q", line, want)
	}
}
