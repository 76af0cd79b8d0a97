package images

import (
	"strings"
)

// passed are the variables of the plane's own environment that a build command sees. Builds run code that strangers wrote
// (the build scripts of packages), so the list holds what is needed to find programs, indexes and certificates and
// nothing else.
var passed = map[string]bool{
	"PATH": true, "HOME": true, "USER": true, "LOGNAME": true, "SHELL": true, "LANG": true, "TZ": true, "TMPDIR": true,
	"XDG_CONFIG_HOME": true, "XDG_CONFIG_DIRS": true, "XDG_DATA_HOME": true, "NETRC": true,
	"SSL_CERT_FILE": true, "SSL_CERT_DIR": true, "REQUESTS_CA_BUNDLE": true, "CURL_CA_BUNDLE": true, "GIT_SSL_CAINFO": true,
	"HTTP_PROXY": true, "HTTPS_PROXY": true, "ALL_PROXY": true, "NO_PROXY": true,
	"http_proxy": true, "https_proxy": true, "all_proxy": true, "no_proxy": true,
	"CC": true, "CXX": true, "CFLAGS": true, "CXXFLAGS": true, "LDFLAGS": true, "PKG_CONFIG_PATH": true, "CUDA_HOME": true,
	"PIP_CERT": true, "PIP_CONFIG_FILE": true, "PIP_DEFAULT_TIMEOUT": true, "PIP_EXTRA_INDEX_URL": true, "PIP_FIND_LINKS": true,
	"PIP_INDEX_URL": true, "PIP_NO_INDEX": true, "PIP_PROXY": true, "PIP_TRUSTED_HOST": true,
	"UV_CONFIG_FILE": true, "UV_DEFAULT_INDEX": true, "UV_EXTRA_INDEX_URL": true, "UV_FIND_LINKS": true, "UV_HTTP_RETRIES": true,
	"UV_HTTP_TIMEOUT": true, "UV_INSECURE_HOST": true, "UV_KEYRING_PROVIDER": true, "UV_LINK_MODE": true, "UV_NATIVE_TLS": true,
	"UV_OFFLINE": true, "UV_PYTHON_INSTALL_DIR": true, "UV_REQUEST_TIMEOUT": true, "UV_SYSTEM_CERTS": true,
	"UV_CONCURRENT_BUILDS": true, "UV_CONCURRENT_DOWNLOADS": true, "UV_CONCURRENT_INSTALLS": true,
}

// buildEnviron is the environment of every build command, made of the plane's own.
func buildEnviron(own []string, downloads string) map[string]string {
	env := map[string]string{}
	for _, pair := range own {
		name, value, _ := strings.Cut(pair, "=")
		// UV_INDEX itself and the credentials of named indexes, UV_INDEX_<NAME>_PASSWORD.
		if passed[name] || strings.HasPrefix(name, "LC_") || strings.HasPrefix(name, "UV_INDEX") {
			env[name] = value
		}
	}
	// A machine on which pip works shall not need the same settings once more for uv.
	if env["UV_INDEX_URL"] == "" && env["UV_DEFAULT_INDEX"] == "" && env["PIP_INDEX_URL"] != "" {
		env["UV_DEFAULT_INDEX"] = env["PIP_INDEX_URL"]
	}
	if env["SSL_CERT_FILE"] == "" && env["PIP_CERT"] != "" {
		env["SSL_CERT_FILE"] = env["PIP_CERT"]
	}
	env["UV_CACHE_DIR"] = downloads
	env["UV_PYTHON_DOWNLOADS"] = "never"
	env["UV_NO_PROGRESS"] = "1"
	env["UV_COMPILE_BYTECODE"] = "1" // so that the first start of a task is as fast as the others
	env["NO_COLOR"] = "1"
	env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
	env["PIP_NO_INPUT"] = "1"
	env["GIT_TERMINAL_PROMPT"] = "0"
	return env
}
