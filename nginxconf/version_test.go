package nginxconf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// saying is a Host on which every program says the same.
type saying struct {
	output string
	err    error
}

func (s saying) Run(context.Context, ...string) ([]byte, error) { return []byte(s.output), s.err }
func (s saying) Hangup(int) error                               { return errors.New("nothing runs here") }

// running is a Host that really runs programs.
type running struct{ saying }

func (running) Run(ctx context.Context, argv ...string) ([]byte, error) {
	return exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
}

func TestReadBuild(t *testing.T) {
	tests := []struct {
		name, output string
		want         Build
	}{
		{"a distribution's", "nginx version: nginx/1.22.1\nbuilt with OpenSSL 3.0.8 7 Feb 2023\nTLS SNI support enabled\n" +
			"configure arguments: --with-cc-opt='-g -O2 -fPIC' --prefix=/usr/share/nginx --conf-path=/etc/nginx/nginx.conf --pid-path=/run/nginx.pid --modules-path=/usr/lib/nginx/modules\n",
			Build{"1.22.1", "/etc/nginx/nginx.conf", "/usr/share/nginx", "/run/nginx.pid", "nobody"}},
		{"nginx.org's", "nginx version: nginx/1.27.4\nconfigure arguments: --prefix=/etc/nginx --sbin-path=/usr/sbin/nginx --conf-path=/etc/nginx/nginx.conf --pid-path=/run/nginx.pid --user=nginx --group=nginx\n",
			Build{"1.27.4", "/etc/nginx/nginx.conf", "/etc/nginx", "/run/nginx.pid", "nginx"}},
		{"with the distribution's name", "nginx version: nginx/1.24.0 (Ubuntu)\nconfigure arguments: --prefix=/usr/share/nginx --pid-path=/run/nginx.pid --conf-path=/etc/nginx/nginx.conf\n",
			Build{"1.24.0", "/etc/nginx/nginx.conf", "/usr/share/nginx", "/run/nginx.pid", "nobody"}},
		{"OpenResty", "nginx version: openresty/1.27.1.2\nconfigure arguments: --prefix=/usr/local/openresty/nginx --with-cc-opt='-O2 -DNGX_LUA_ABORT' --with-pcre-jit\n",
			Build{"1.27.1", "conf/nginx.conf", "/usr/local/openresty/nginx", "logs/nginx.pid", "nobody"}},
		{"told nothing", "nginx version: nginx/1.26.0\nconfigure arguments:\n",
			Build{"1.26.0", "conf/nginx.conf", "/usr/local/nginx", "logs/nginx.pid", "nobody"}},
		{"blanks in a path", "nginx version: nginx/1.26.0\nconfigure arguments: --prefix='/opt/my nginx'\n",
			Build{"1.26.0", "conf/nginx.conf", "/opt/my nginx", "logs/nginx.pid", "nobody"}},
		{"after a warning", "nginx: [alert] could not open error log file\nnginx version: nginx/1.18.0\nconfigure arguments: --prefix=/p\n",
			Build{"1.18.0", "conf/nginx.conf", "/p", "logs/nginx.pid", "nobody"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ReadBuild(t.Context(), saying{output: test.output}, "nginx")
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

func TestReadBuildRefuses(t *testing.T) {
	notFound := errors.New(`exec: "nginx": executable file not found in $PATH`)
	tests := []struct {
		name string
		host saying
		want string
	}{
		{"not found", saying{err: notFound}, `nginx: not found as "nginx": ` + notFound.Error()},
		{"not allowed", saying{err: fmt.Errorf("exec: %w", fs.ErrPermission)}, `nginx: "nginx" may not be run: exec: permission denied`},
		{"another program", saying{output: "Server version: Apache/2.4.57\n"}, "nginx: nginx -V names no nginx version"},
		{"too old", saying{output: "nginx version: nginx/1.14.2\nconfigure arguments:\n"}, "nginx: nginx is version 1.14.2, cutover needs 1.18 or newer"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ReadBuild(t.Context(), test.host, "nginx")
			require.EqualError(t, err, test.want)
			fault, ok := errors.AsType[*traffic.Fault](err)
			require.True(t, ok)
			require.Equal(t, traffic.Preflight, fault.Kind)
			require.NotEmpty(t, fault.Hint)
			require.True(t, test.host.err == nil || errors.Is(err, test.host.err))
		})
	}
}

func TestReadBuildOfTheRealOne(t *testing.T) {
	b, err := ReadBuild(t.Context(), running{}, stockNginx(t))
	require.NoError(t, err)
	require.True(t, b.AtLeast(1, 18, 0))
	require.NotEmpty(t, b.Conf)
	_, err = ReadBuild(t.Context(), running{}, "no-such-nginx")
	require.ErrorContains(t, err, `nginx: not found as "no-such-nginx"`)
}

func TestAtLeast(t *testing.T) {
	b := Build{Version: "1.22.1"}
	for _, older := range [][3]int{{1, 22, 1}, {1, 22, 0}, {1, 9, 15}, {0, 99, 99}} {
		require.True(t, b.AtLeast(older[0], older[1], older[2]), "%v", older)
	}
	for _, newer := range [][3]int{{1, 22, 2}, {1, 23, 0}, {2, 0, 0}} {
		require.False(t, b.AtLeast(newer[0], newer[1], newer[2]), "%v", newer)
	}
}
