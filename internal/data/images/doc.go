// Package images turns the image of a task into something that the process executor can run: a cached virtual environment.
//
// The launcher calls Resolve for every attempt and Hold while it runs; the engine runs Builder for the built-in task that
// the SDK's remote builder calls; the gateway serves Service; biplane demo calls Base to prepare the first environment.
//
// Two folders. The state folder belongs to one plane and is what a registry would keep: recipes (the spec and the files
// that the SDK sent, by digest of their content) and tags (name and tag to recipe). The cache folder is shared by all planes of a
// user: environments, downloads and the uv that makes them. Everything in the cache can be lost at any time: Resolve builds it
// again from the recipe. Recipes and tags are never removed here, because a task deployed long ago may still name them.
//
// An environment is built at its final path (a virtual environment cannot be moved), under a lock of the operating system that
// the build's own child processes inherit: even the orphans of a builder that was killed keep everyone else out. Its marker
// ".ready" is written last; a folder without one is a leftover and is removed by the next builder.
//
// There is no container: paths of the image, such as /root or the working directory, become folders below the environment
// ("fs/root"), PYTHONPATH and PATH are translated, other absolute paths in the code of a task are not. What cannot be
// translated (system packages, commands, foreign base images) is refused with the reason and a way out, never ignored.
//
// This package must never run code of a build with the environment of the plane (only a listed few variables pass), nor
// write outside its two folders.
package images
