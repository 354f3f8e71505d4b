use super::*;
use crate::Point;

const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

fn parse(text: &str) -> Result<Configuration, ConfigError> {
    Configuration::parse(format!("{HEAD}{text}").as_bytes())
}

fn refusal(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// In place of the binder, which needs an API server.
#[derive(Debug)]
struct NoBind;

impl crate::SchedulerPlugin for NoBind {
    fn name(&self) -> &'static str {
        "DefaultBinder"
    }

    fn as_bind(&self) -> Option<&dyn crate::Bind> {
        Some(self)
    }
}

#[async_trait::async_trait]
impl crate::Bind for NoBind {
    async fn bind(&self, _: &crate::CycleState, _: &crate::PodInfo, _: &str) -> crate::BindVerdict {
        crate::BindVerdict::Bound
    }
}

fn registry() -> Registry {
    Registry::default().with("DefaultBinder", |_| Ok(NoBind))
}

fn names(profile: &crate::Profile, point: Point) -> Vec<&'static str> {
    profile.order(point).into_iter().map(|own| profile.plugins()[own].plugin.name()).collect()
}

fn weight(profile: &crate::Profile, name: &str) -> i64 {
    profile.plugins().iter().find(|own| own.plugin.name() == name).unwrap().weight
}

#[test]
fn an_empty_configuration_is_the_default_profile() {
    let configuration = parse("").unwrap();
    assert_eq!(configuration.leader_election.resource_name, "kube-scheduler");
    assert_eq!(configuration.client_connection.qps, 50.0);
    let profiles = configuration.profiles(&registry()).unwrap();
    let default = crate::Profile::default();
    assert_eq!(names(&profiles[0], Point::Filter), names(&default, Point::Filter));
    assert_eq!(names(&profiles[0], Point::Score), names(&default, Point::Score));
    assert_eq!(weight(&profiles[0], "TaintToleration"), 3);
}

#[test]
fn gates_bring_their_plugins() {
    let with = |gates: &str| {
        let features: kubeplane_core::features::Features = gates.parse().unwrap();
        let own = crate::Profile::with_features(&features);
        let read = parse("").unwrap().profiles(&registry().with_features(features)).unwrap();
        let read = read.into_iter().next().unwrap();
        for point in Point::ALL.into_iter().filter(|point| *point != Point::Bind) {
            assert_eq!(names(&read, point), names(&own, point), "{gates} at {point}");
        }
        read
    };
    assert!(names(&with(""), Point::Permit).is_empty());
    let groups = with("GenericWorkload=true");
    assert!(names(&groups, Point::Permit).is_empty(), "groups alone are no gangs");
    let gangs = with("GenericWorkload=true,GangScheduling=true");
    assert_eq!(names(&gangs, Point::Permit), ["GangScheduling"]);
    assert_eq!(
        names(&gangs, Point::PreEnqueue),
        ["SchedulingGates", "DynamicResources", "DefaultPreemption", "GangScheduling"]
    );
    assert!(names(&gangs, Point::PlacementGenerate).is_empty());
    let places = with("GenericWorkload=true,TopologyAwareWorkloadScheduling=true");
    assert_eq!(names(&places, Point::PlacementGenerate), ["TopologyPlacementGenerator"]);
    assert_eq!(names(&places, Point::PlacementScore), ["NodeResourcesFit", "PodGroupPodsCount"]);
    let scaling = with("VolumeLimitScaling=true");
    let limits = scaling.plugins().iter().find(|own| own.plugin.name() == "NodeVolumeLimits");
    let expected = crate::NodeVolumeLimits::default().with_scaling(true);
    assert_eq!(format!("{:?}", limits.unwrap().plugin), format!("{expected:?}"));
    let by_room = with("StorageCapacityScoring=true");
    assert!(names(&by_room, Point::Score).contains(&"VolumeBinding"));
    assert!(!names(&with(""), Point::Score).contains(&"VolumeBinding"));
    let dependents = "ExtendWebSocketsToKubelet=false,InPlacePodLevelResourcesVerticalScaling=false,\
        InPlacePodVerticalScalingInitContainers=false,RestartAllContainersOnContainerExits=false";
    let plain = with(&format!("NodeDeclaredFeatures=false,{dependents}"));
    assert!(!names(&plain, Point::Filter).contains(&"NodeDeclaredFeatures"));
}

#[test]
fn plugins_are_enabled_disabled_weighed_and_ordered_as_in_the_original() {
    let text = "profiles:
- schedulerName: one
  percentageOfNodesToScore: 70
  plugins:
    multiPoint:
      disabled: [{name: ImageLocality}]
      enabled: [{name: NodeAffinity, weight: 7}]
    score:
      disabled: [{name: NodeResourcesBalancedAllocation}]
      enabled: [{name: InterPodAffinity, weight: 5}]
    filter:
      disabled: [{name: '*'}]
      enabled: [{name: NodePorts}, {name: NodeName}]
- schedulerName: two
";
    let profiles = parse(text).unwrap().profiles(&registry()).unwrap();
    let one = &profiles[0];
    assert_eq!(names(one, Point::Filter), ["NodePorts", "NodeName"]);
    let scores = [
        "InterPodAffinity",
        "TaintToleration",
        "NodeAffinity",
        "NodeResourcesFit",
        "PodTopologySpread",
        "DynamicResources",
    ];
    assert_eq!(names(one, Point::Score), scores);
    assert_eq!((weight(one, "InterPodAffinity"), weight(one, "NodeAffinity")), (5, 7));
    assert_eq!(one.percentage(), Some(70));
    assert_eq!(profiles[1].scheduler_name(), "two");
}

/// Proposes all nodes.
#[derive(Debug)]
struct Anywhere;

impl crate::SchedulerPlugin for Anywhere {
    fn name(&self) -> &'static str {
        "Anywhere"
    }

    fn as_placement_generate(&self) -> Option<&dyn crate::PlacementGenerate> {
        Some(self)
    }
}

impl crate::PlacementGenerate for Anywhere {
    fn generate(
        &self,
        _: &crate::PodGroup,
        within: &crate::GroupPlacement,
        _: &crate::Snapshot,
    ) -> Result<Vec<crate::GroupPlacement>, String> {
        Ok(vec![within.clone()])
    }
}

#[test]
fn placements_are_proposed_by_one_plugin_and_weighed_by_themselves() {
    let gates = "GenericWorkload=true,TopologyAwareWorkloadScheduling=true";
    let registry = || registry().with_features(gates.parse().unwrap());
    let text = "profiles:
- schedulerName: one
  plugins:
    score:
      enabled: [{name: NodeResourcesFit, weight: 2}]
    placementScore:
      enabled: [{name: NodeResourcesFit, weight: 5}]
";
    let profiles = parse(text).unwrap().profiles(&registry()).unwrap();
    let weights = |name: &str| {
        let own = profiles[0].plugins().iter().find(|own| own.plugin.name() == name).unwrap();
        (own.weight, profiles[0].placement_weight(own))
    };
    assert_eq!(weights("NodeResourcesFit"), (2, 5));
    assert_eq!(weights("PodGroupPodsCount"), (1, 1));
    let text = "profiles:
- schedulerName: one
  plugins:
    placementGenerate:
      enabled: [{name: Anywhere}]
";
    let with = registry().with("Anywhere", |_| Ok(Anywhere));
    let why = parse(text).unwrap().profiles(&with).unwrap_err().to_string();
    let expected =
        "at most one placement generate plugin is allowed for profile with scheduler name \"one\"";
    assert!(why.contains(expected), "{why}");
}

#[test]
fn what_is_wrong_is_said_in_the_originals_words() {
    let twice = refusal("profiles:\n- {schedulerName: a}\n- {schedulerName: a}\n");
    assert_eq!(twice, "profiles[1].schedulerName: Duplicate value: profiles[0].schedulerName");
    let unknown = refusal("percentage: 3\nprofiles:\n- {plugins: {score: {enable: []}}}\n");
    let wanted = "strict decoding error: unknown field \"percentage\", unknown field \"profiles[0].plugins.score.enable\"";
    assert_eq!(unknown, wanted);
    let args = refusal(
        "profiles:\n- pluginConfig:\n  - {name: NodeResourcesFit, args: {scoringStrategy: {type: Least}}}\n",
    );
    let wanted = "profiles[0].pluginConfig[0].args.scoringStrategy.type: Unsupported value: \"Least\": supported \
                  values: \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\"";
    assert_eq!(args, wanted);
    let kind = refusal(
        "profiles:\n- pluginConfig:\n  - {name: InterPodAffinity, args: {kind: NodeAffinityArgs}}\n",
    );
    let wanted = "decoding .profiles[0].pluginConfig[0]: args for plugin InterPodAffinity were not of type \
                  InterPodAffinityArgs.kubescheduler.config.k8s.io, got NodeAffinityArgs.kubescheduler.config.k8s.io";
    assert_eq!(kind, wanted);
    assert_eq!(
        refusal("parallelism: 0\n"),
        "parallelism: Invalid value: 0: should be an integer value greater than zero"
    );
}

#[test]
fn values_out_of_range_are_refused() {
    let of = |name: &str, args: &str| {
        refusal(&format!("profiles:\n- pluginConfig:\n  - {{name: {name}, args: {args}}}\n"))
            .replace("profiles[0].pluginConfig[0].args.", "")
    };
    assert_eq!(
        of("InterPodAffinity", "{hardPodAffinityWeight: 101}"),
        "hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"
    );
    assert_eq!(
        of(
            "PodTopologySpread",
            "{defaultConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: ScheduleAnyway}]}"
        ),
        "defaultingType: Invalid value: \"System\": when .defaultConstraints are not empty"
    );
    assert_eq!(
        of("NodeResourcesBalancedAllocation", "{resources: [{name: cpu, weight: 2}]}"),
        "resources[0].weight: Invalid value: 2: must be 1"
    );
    assert_eq!(
        of(
            "NodeResourcesFit",
            "{scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 3, score: 11}]}}}"
        ),
        "scoringStrategy.requestedToCapacityRatio.shape[0].score: Invalid value: 11: not in valid range [0, 10]"
    );
    for strategy in ["LeastAllocated", "MostAllocated"] {
        for (weights, index, name, weight) in
            [([-1, 1], 0, "memory", -1), ([1, 101], 1, "cpu", 101), ([101, 1], 0, "memory", 101)]
        {
            let [memory, cpu] = weights;
            let resources =
                format!("[{{name: memory, weight: {memory}}}, {{name: cpu, weight: {cpu}}}]");
            let args = format!("{{scoringStrategy: {{type: {strategy}, resources: {resources}}}}}");
            let why = format!("resource weight of {name} not in valid range (0, 100]");
            let at = format!("scoringStrategy.resources[{index}].weight");
            let expected = format!("{at}: Invalid value: {weight}: {why}");
            assert_eq!(of("NodeResourcesFit", &args), expected);
        }
    }
    assert_eq!(
        of("VolumeBinding", "{bindTimeoutSeconds: -1}"),
        "bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value"
    );
    assert_eq!(
        of("DynamicResources", "{bindingTimeout: 0s}"),
        "bindingTimeout: Invalid value: \"0s\": must be at least 1 second"
    );
    assert_eq!(
        refusal("extenders: [{urlPrefix: 'http://a', prioritizeVerb: p}]\n"),
        "extenders[0].weight: Invalid value: 0: must have a positive weight applied to it"
    );
}

#[test]
fn fields_of_a_gate_are_refused_where_it_is_off() {
    let read = |shape: &str, features: &Features| {
        let text = format!(
            "{HEAD}profiles:\n- pluginConfig:\n  - {{name: VolumeBinding, args: {{shape: {shape}}}}}\n"
        );
        let read = Configuration::parse_with(text.as_bytes(), features);
        read.map(drop).map_err(|why| why.to_string())
    };
    let (on, off) = ("StorageCapacityScoring=true".parse().unwrap(), Features::default());
    let line = "[{utilization: 0, score: 10}, {utilization: 100, score: 0}]";
    assert_eq!(read(line, &on), Ok(()));
    assert_eq!(read("[]", &on), Ok(()));
    let why = "profiles[0].pluginConfig[0].args.shape[0].score: Invalid value: 11: not in valid range [0, 10]";
    assert_eq!(read("[{utilization: 0, score: 11}]", &on), Err(why.to_owned()));
    let why =
        "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring";
    assert!(read(line, &off).unwrap_err().ends_with(why));
}

#[test]
fn times_that_devices_have_are_refused_where_their_gates_are_off() {
    let read = |args: &str, gates: &str| {
        let text = format!(
            "{HEAD}profiles:\n- pluginConfig:\n  - {{name: DynamicResources, args: {args}}}\n"
        );
        let read = Configuration::parse_with(text.as_bytes(), &gates.parse().unwrap());
        let why = read.err().map(|why| why.to_string()).unwrap_or_default();
        why.replace("profiles[0].pluginConfig[0].args.", "")
    };
    let (filter, binding) = ("{filterTimeout: 5s}", "{bindingTimeout: 5s}");
    let (filters, status) = (
        "DRASchedulerFilterTimeout=false",
        "DRAResourceClaimDeviceStatus=false,\
        DRADeviceBindingConditions=false,DRAResourceClaimGranularStatusAuthorization=false",
    );
    let why = "filterTimeout: Forbidden: DRASchedulingFilterTimeout feature gate is disabled";
    assert_eq!(read(filter, filters), why);
    let why = "bindingTimeout: Forbidden: DRADeviceBindingConditions or DRAResourceClaimDeviceStatus \
               feature gate is disabled";
    assert_eq!(read(binding, "DRADeviceBindingConditions=false"), why);
    assert_eq!(read(binding, status), why);
    for (args, gates) in [(filter, status), (binding, filters), ("{}", filters), ("{}", status)] {
        assert_eq!(read(args, gates), "", "{args} where {gates}");
    }
}

#[test]
fn plugins_of_users_are_made_from_their_arguments() {
    #[derive(Debug)]
    struct Mine(String);
    impl crate::SchedulerPlugin for Mine {
        fn name(&self) -> &'static str {
            "Mine"
        }
        fn as_score(&self) -> Option<&dyn crate::Score> {
            Some(self)
        }
    }
    impl crate::Score for Mine {
        fn score(&self, _: &crate::CycleState, _: &crate::PodInfo, node: &crate::NodeInfo) -> i64 {
            i64::from(node.name() == self.0)
        }
    }
    let text = "profiles:\n- plugins: {multiPoint: {enabled: [{name: Mine, weight: 3}]}}\n  pluginConfig: [{name: Mine, args: {node: a}}]\n";
    let configuration = parse(text).unwrap();
    let missing = configuration.profiles(&registry()).unwrap_err().to_string();
    assert!(missing.ends_with("PreEnqueuePlugin \"Mine\" does not exist"), "{missing}");
    let registry = registry()
        .with("Mine", |args| Ok(Mine(args["node"].as_str().ok_or("no node")?.to_owned())));
    let profiles = configuration.profiles(&registry).unwrap();
    assert_eq!(weight(&profiles[0], "Mine"), 3);
}

/// Sorts the queue by what its arguments say.
#[derive(Debug)]
struct Sorter;

impl crate::SchedulerPlugin for Sorter {
    fn name(&self) -> &'static str {
        "Sorter"
    }

    fn as_queue_sort(&self) -> Option<&dyn crate::QueueSort> {
        Some(self)
    }
}

impl crate::QueueSort for Sorter {
    fn compare(
        &self,
        a: (&crate::PodInfo, std::time::Duration),
        b: (&crate::PodInfo, std::time::Duration),
    ) -> std::cmp::Ordering {
        a.1.cmp(&b.1)
    }
}

/// Two profiles whose queue is sorted by this plugin, with arguments each.
fn sorted_by(plugins: &str, args: [&str; 2]) -> String {
    let profile = |name: &str, args: &str| {
        format!(
            "- schedulerName: {name}\n  plugins: {plugins}\n  pluginConfig: [{{name: Sorter{args}}}]\n"
        )
    };
    format!("profiles:\n{}{}", profile("one", args[0]), profile("two", args[1]))
}

#[test]
fn profiles_have_the_same_arguments_for_the_plugin_that_sorts() {
    let registry = || registry().with("Sorter", |_| Ok(Sorter));
    // Where the point names the plugin, reading the file finds it out.
    let here = "{queueSort: {enabled: [{name: Sorter}], disabled: [{name: '*'}]}}";
    let different = sorted_by(here, [", args: {by: age}", ", args: {by: name}"]);
    assert_eq!(
        refusal(&different),
        "profiles[1].pluginConfig.args: Invalid value: {\"by\":\"name\"}: queueSort must be the same for all profiles"
    );
    let alike = sorted_by(here, [", args: {by: age}", ", args: {by: age}"]);
    assert_eq!(parse(&alike).unwrap().profiles(&registry()).unwrap().len(), 2);

    // Where it is among others, making the profiles does.
    let among = "{multiPoint: {enabled: [{name: Sorter}], disabled: [{name: PrioritySort}]}}";
    for args in [[", args: {by: age}", ", args: {by: name}"], ["", ", args: {by: name}"]] {
        let configuration = parse(&sorted_by(among, args)).unwrap();
        let why = configuration.profiles(&registry()).unwrap_err().to_string();
        assert_eq!(
            why,
            "initializing profiles: different queue sort plugin args for profile \"two\""
        );
    }
    assert!(parse(&sorted_by(among, ["", ""])).unwrap().profiles(&registry()).is_ok());
}

#[test]
fn profiles_sort_by_the_same_plugin_wherever_it_is_named() {
    let registry = registry().with("Sorter", |_| Ok(Sorter));
    let text = "profiles:\n- {schedulerName: one}\n- schedulerName: two\n  plugins: {multiPoint: \
                {enabled: [{name: Sorter}], disabled: [{name: PrioritySort}]}}\n";
    let why = parse(text).unwrap().profiles(&registry).unwrap_err().to_string();
    let wanted = "initializing profiles: different queue sort plugins for profile \"two\": \
                  \"Sorter\", first: \"PrioritySort\"";
    assert_eq!(why, wanted);
}
