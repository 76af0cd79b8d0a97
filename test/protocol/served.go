package protocol

// Status is what becomes of a call.
type Status int

// A call is answered UNIMPLEMENTED; served while some fields are ignored; or served whole.
const (
	NotServed Status = iota
	Partly
	Served
)

func (s Status) String() string {
	return [...]string{"not served", "partly served", "served"}[s]
}

// Method says how a method is served.
type Method struct {
	Status Status
	// Ignored are the fields of the request that change nothing although a client may set them, with the reason. A path
	// goes down from the request: "run_spec.labels". Exactly the methods that are partly served have some.
	Ignored map[string]string
	// Note is for the reader of docs/protocol.md. For a method that is not served it is the reason.
	Note string
}

// Service is one that we serve, some of it at least. Every method of it has an entry.
type Service map[string]Method

// services are the services that a gateway mounts, by full name. This table is the one place that says so: change it
// with the handler, then run the tests of this package with -update.
var services = map[string]Service{
	"flyteidl2.actions.ActionsService": {
		"Enqueue": {Status: Partly, Ignored: map[string]string{
			"run_spec":              "children have the settings of their run; the SDK never sets it",
			"action.subject":        "there is no sign-in yet",
			"action.recovered_from": "the engine finds out by itself what a recovered run takes over",
		}},
		"WatchForUpdates": {Status: Served},
		"Abort":           {Status: Served},
		"Signal":          {Status: Served},
		"Update":          {Note: "states of attempts come from the plane's own executor"},
	},
	"flyteidl2.cluster.ClusterService": {
		"SelectCluster": {Status: Partly, Note: "always answers: this endpoint", Ignored: map[string]string{
			"operation": "a data plane is one cluster and does everything itself",
		}},
	},
	"flyteidl2.dataproxy.DataProxyService": {
		"CreateUploadLocation": {Status: Partly, Ignored: map[string]string{
			"add_content_md5_metadata": "the bucket keeps the MD5 of every object",
		}},
		"UploadInputs":       {Status: Served},
		"CreateDownloadLink": {Status: Served},
		"GetActionData": {Status: Partly, Ignored: map[string]string{
			"run_source": "every action's data lies in the same bucket",
		}},
		"TailLogs": {Status: Partly, Ignored: map[string]string{
			"primary_pod":        "an attempt is one process here, and has one log",
			"all_pods":           "an attempt is one process here, and has one log",
			"pod_name":           "an attempt is one process here, and has one log",
			"connector_endpoint": "there are no connectors",
		}},
	},
	"flyteidl2.imagebuilder.ImageService": {
		"GetImage": {Status: Served},
	},
	"flyteidl2.project.ProjectService": {
		"CreateProject": {Status: Served},
		"UpdateProject": {Status: Served},
		"GetProject":    {Status: Served},
		"ListProjects":  {Status: Served},
	},
	"flyteidl2.secret.SecretService": {
		"CreateSecret": {Status: Served},
		"UpdateSecret": {Status: Served},
		"GetSecret":    {Status: Served, Note: "never returns the value"},
		"DeleteSecret": {Status: Served},
		"ListSecrets":  {Status: Served, Note: "never returns a value"},
	},
	"flyteidl2.settings.SettingsService": {
		"GetSettings":        {Status: Served},
		"GetSettingsForEdit": {Status: Served},
		"CreateSettings":     {Status: Served},
		"UpdateSettings":     {Status: Served},
	},
	"flyteidl2.task.TaskService": {
		"DeployTask":     {Status: Served},
		"GetTaskDetails": {Status: Served},
		"ListTasks":      {Status: Served},
		"ListVersions":   {Status: Served},
	},
	"flyteidl2.trigger.TriggerService": {
		"DeployTrigger":             {Status: Served},
		"GetTriggerDetails":         {Status: Served},
		"GetTriggerRevisionDetails": {Status: Served},
		"ListTriggers":              {Status: Served},
		"GetTriggerRevisionHistory": {Status: Served},
		"UpdateTriggers":            {Status: Served},
		"DeleteTriggers":            {Status: Served},
	},
	"flyteidl2.workflow.RunService": {
		"CreateRun": {Status: Partly, Ignored: map[string]string{
			"run_spec.interruptible":           "no machine of this plane is taken away; recorded",
			"run_spec.security_context.run_as": "tasks run as the plane's own user; recorded",
			"run_spec.notification_rule_name":  "nothing is sent yet; recorded",
			"run_spec.notification_rules":      "nothing is sent yet; recorded",
			"run_spec.cluster_pool":            "one plane is the whole pool; recorded",
			"run_spec.queue":                   "there is one queue, fair between runs; recorded",
			"run_spec.annotations":             "there is no pod to annotate; recorded",
			"run_spec.default_settings":        "set by a server, for pods",
		}},
		"AbortRun":            {Status: Served},
		"GetRunDetails":       {Status: Served},
		"WatchRunDetails":     {Status: Served},
		"GetActionDetails":    {Status: Served},
		"WatchActionDetails":  {Status: Served},
		"ListRuns":            {Status: Served},
		"WatchRuns":           {Status: Served},
		"ListActions":         {Status: Served},
		"WatchActions":        {Status: Served},
		"AbortAction":         {Status: Served},
		"SignalEvent":         {Status: Served},
		"GetActionDataURIs":   {Status: Served},
		"GetActionData":       {Note: "content is read through DataProxyService.GetActionData"},
		"GetActionLogContext": {Note: "logs are read through DataProxyService.TailLogs"},
		"WatchClusterEvents":  {Note: "the SDK does not call it"},
		"WatchGroups":         {Note: "the SDK does not call it"},
	},
}

// absent are the services that no gateway mounts, by full name, with the reason.
var absent = map[string]string{
	"flyteidl2.app.AppLogsService":                 "apps are not built yet",
	"flyteidl2.app.AppService":                     "apps are not built yet",
	"flyteidl2.artifact.ArtifactService":           "artifacts are not built yet",
	"flyteidl2.auth.AuthMetadataService":           "sign-in is not built yet; a client is told `insecure`",
	"flyteidl2.auth.IdentityService":               "sign-in is not built yet",
	"flyteidl2.cacheservice.CacheService":          "a backend's inner service; our cache is part of the engine",
	"flyteidl2.cacheservice.v2.CacheService":       "a backend's inner service; our cache is part of the engine",
	"flyteidl2.connector.AsyncConnectorService":    "served by connectors, not by the backend",
	"flyteidl2.connector.ConnectorMetadataService": "served by connectors, not by the backend",
	"flyteidl2.org.DomainService":                  "the SDK does not call it",
	"flyteidl2.workflow.EventsProxyService":        "a backend's inner service",
	"flyteidl2.workflow.InternalRunService":        "a backend's inner service",
	"flyteidl2.workflow.QueueService":              "replaced by ActionsService, which tasks are told to use",
	"flyteidl2.workflow.RunLogsService":            "the SDK does not call it; logs are read through DataProxyService.TailLogs",
	"flyteidl2.workflow.StateService":              "replaced by ActionsService, which tasks are told to use",
	"flyteidl2.workflow.TrackedRunService":         "runs on a laptop that report here are not built yet",
	"flyteidl2.workflow.TranslatorService":         "the SDK does not call it",
}
