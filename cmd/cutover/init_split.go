package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"cutover/nginxconf"
)

// composed is what is read of a service of the compose files.
type composed struct {
	Ports []any  `json:"ports"`
	Image string `json:"image"`
	// Build is a folder, or a mapping with its context.
	Build any `json:"build"`
}

// pageImages are the images of programs that serve a browser's application; of node also its own server.
var pageImages = []string{"node", "nginx", "nginx-unprivileged", "httpd", "caddy", "vite", "bun", "deno"}

// pageFiles are what a browser's application has in the folder that its image is built from.
var pageFiles = []string{
	"index.html", "public/index.html", "vite.config.js", "vite.config.ts", "vite.config.mjs", "next.config.js", "next.config.mjs", "next.config.ts",
	"nuxt.config.ts", "svelte.config.js", "angular.json", "vue.config.js",
}

// pages says why the service looks like one that serves a browser's pages: its name, or an image of such a name; empty where it does not.
func (c composed) pages(name string) string {
	if nginxconf.ServesPages(name) {
		return "service " + name + " serves pages"
	}
	if name != "web" && !strings.HasPrefix(name, "web-") && !strings.HasSuffix(name, "-web") && name != "site" {
		return ""
	}
	if image := imageName(c.Image); slices.Contains(pageImages, image) {
		return fmt.Sprintf("service %s is of image %s", name, image)
	}
	folder, _ := c.Build.(string)
	if long, ok := c.Build.(map[string]any); ok {
		folder, _ = long["context"].(string)
	}
	if folder == "" {
		return ""
	}
	for _, file := range pageFiles {
		if _, err := os.Stat(filepath.Join(folder, file)); err == nil {
			return fmt.Sprintf("service %s is built from a folder with %s", name, file)
		}
	}
	return ""
}

// imageName is an image's name without its registry, folder, tag and digest.
func imageName(image string) string {
	image, _, _ = strings.Cut(path.Base(image), "@")
	image, _, _ = strings.Cut(image, ":")
	return image
}

// publishedPort is this host's port of a ports entry, in either of Compose's spellings; empty where there is none or a variable gives it.
func publishedPort(entry any) string {
	text := fmt.Sprint(entry)
	if long, ok := entry.(map[string]any); ok {
		text = fmt.Sprint(long["published"]) + ":"
	}
	parts := strings.Split(text, ":")
	if len(parts) < 2 || strings.ContainsAny(parts[len(parts)-2], "${}<>-") {
		return ""
	}
	return parts[len(parts)-2]
}

// browsersOf reads the configuration of this host's nginx for servers that pass to the web services now, and says what in them shows
// that browsers use the app. An nginx that is not there, or in a container, shows nothing.
func (i *invocation) browsersOf(ctx context.Context, start starter) string {
	if start.Container != "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, enginePatience)
	defer cancel()
	build, err := nginxconf.ReadBuild(ctx, nginxHost{}, nginxconf.DefaultConfig().Binary)
	if err != nil {
		return ""
	}
	chain, err := nginxconf.ReadChain(build.Conf, build.Prefix)
	if err != nil {
		return ""
	}
	var web []nginxconf.Upstream
	for _, w := range start.Web {
		u := nginxconf.Upstream{Route: nginxconf.RouteName(w.Service), Service: w.Service, Blue: w.Blue, Green: w.Green}
		web = append(web, u)
		if w.published != "" {
			u.Blue = net.JoinHostPort("127.0.0.1", w.published)
			web = append(web, u)
		}
	}
	return chain.Browsers(web)
}
