package gateway

import (
	"net/http"

	"connectrpc.com/connect"

	"biplane.dev/biplane/gen/biplane/plane/v1/planev1connect"
	"biplane.dev/biplane/gen/flyteidl2/actions/actionsconnect"
	"biplane.dev/biplane/gen/flyteidl2/cluster/clusterconnect"
	"biplane.dev/biplane/gen/flyteidl2/dataproxy/dataproxyconnect"
	"biplane.dev/biplane/gen/flyteidl2/imagebuilder/imagebuilderconnect"
	"biplane.dev/biplane/gen/flyteidl2/project/projectconnect"
	"biplane.dev/biplane/gen/flyteidl2/secret/secretconnect"
	"biplane.dev/biplane/gen/flyteidl2/settings/settingsconnect"
	"biplane.dev/biplane/gen/flyteidl2/task/taskconnect"
	"biplane.dev/biplane/gen/flyteidl2/trigger/triggerconnect"
	"biplane.dev/biplane/gen/flyteidl2/workflow/workflowconnect"
)

// Server is what services are mounted on: internal/rpc.
type Server interface {
	Handle(path string, handler http.Handler)
	Options() []connect.HandlerOption
}

// Services are the handlers of the plane's other parts.
type Services struct {
	Projects projectconnect.ProjectServiceHandler
	Tasks    taskconnect.TaskServiceHandler
	Triggers triggerconnect.TriggerServiceHandler
	Settings settingsconnect.SettingsServiceHandler
	Secrets  secretconnect.SecretServiceHandler
	Images   imagebuilderconnect.ImageServiceHandler
}

// Mount puts every service of the data plane on the server. What is not mounted answers UNIMPLEMENTED.
func (g *Gateway) Mount(server Server, s Services) {
	options := server.Options()
	server.Handle(planev1connect.NewPlaneServiceHandler(Operator{Gateway: g}, options...))
	server.Handle(actionsconnect.NewActionsServiceHandler(Actions{Gateway: g}, options...))
	server.Handle(clusterconnect.NewClusterServiceHandler(Cluster{}, options...))
	server.Handle(dataproxyconnect.NewDataProxyServiceHandler(Data{Gateway: g}, options...))
	server.Handle(workflowconnect.NewRunServiceHandler(Runs{Gateway: g}, options...))
	server.Handle(projectconnect.NewProjectServiceHandler(s.Projects, options...))
	server.Handle(taskconnect.NewTaskServiceHandler(s.Tasks, options...))
	server.Handle(triggerconnect.NewTriggerServiceHandler(s.Triggers, options...))
	server.Handle(settingsconnect.NewSettingsServiceHandler(s.Settings, options...))
	if s.Secrets != nil {
		server.Handle(secretconnect.NewSecretServiceHandler(s.Secrets, options...))
	}
	server.Handle(imagebuilderconnect.NewImageServiceHandler(s.Images, options...))
}
