"""What a user of the official Python client does; every call must give what it gives at the original.

Run by python.rs: KUBECONFIG names the cluster, PYTHONPATH holds the client.
"""

import inspect
import threading
import time

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.dynamic.exceptions import ConflictError
from kubernetes.stream import stream

NAMESPACE = "python"
LIMIT = 30


def refused(code, reason, call, *arguments, **named):
    """The answer to a call that must fail so."""
    try:
        call(*arguments, **named)
    except ApiException as error:
        assert error.status == code, error
        assert f'"reason":"{reason}"' in error.body.replace('": "', '":"'), error.body
        return error
    raise AssertionError(f"{call} succeeded")


def eventually(what, look):
    """Waits until a look gives something."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {LIMIT} s")


def discovery(api):
    version = client.VersionApi(api).get_code()
    assert (version.major, version.minor) == ("1", "36"), version
    groups = {group.name for group in client.ApisApi(api).get_api_versions().groups}
    assert {"apps", "batch", "rbac.authorization.k8s.io"} <= groups, groups
    names = {resource.name for resource in client.CoreV1Api(api).get_api_resources().resources}
    assert {"pods", "pods/exec", "configmaps"} <= names, names


def every_list(api):
    """The client reads each answer into a class of its own, and refuses what lacks a required field."""
    served = 0
    for name, kind in inspect.getmembers(client, inspect.isclass):
        if not name.endswith("Api") or "alpha" in name or "beta" in name:
            continue
        for method, call in inspect.getmembers(kind(api), inspect.ismethod):
            cluster_wide = method.endswith("_for_all_namespaces") or "namespaced" not in method
            if not method.startswith("list_") or not cluster_wide or method.endswith("_with_http_info"):
                continue
            # Neither has a list in the store. The client takes no events.k8s.io without a time of their own,
            # which those of the older group have not.
            if "custom_object" in method or "component_status" in method or name == "EventsV1Api":
                continue
            answer = call()
            assert answer.metadata.resource_version is not None, method
            assert answer.kind.endswith("List"), answer.kind
            served += 1
    assert served > 50, served


def objects(core):
    """Create, read, replace, the patches, list and delete."""
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    body = client.V1ConfigMap(
        metadata=client.V1ObjectMeta(name="first", labels={"app": "python"}), data={"a": "1"}
    )
    made = core.create_namespaced_config_map(NAMESPACE, body)
    assert made.metadata.uid and made.metadata.creation_timestamp.tzinfo, made
    assert made.metadata.managed_fields[0].manager == "OpenAPI-Generator", made
    error = refused(409, "AlreadyExists", core.create_namespaced_config_map, NAMESPACE, body)
    assert 'configmaps \\"first\\" already exists' in error.body, error.body

    read = core.read_namespaced_config_map("first", NAMESPACE)
    assert read.data == {"a": "1"}
    read.data["b"] = "2"
    replaced = core.replace_namespaced_config_map("first", NAMESPACE, read)
    assert replaced.metadata.resource_version != read.metadata.resource_version
    refused(409, "Conflict", core.replace_namespaced_config_map, "first", NAMESPACE, read)

    patched = core.patch_namespaced_config_map("first", NAMESPACE, {"data": {"a": None, "c": "3"}})
    assert patched.data == {"b": "2", "c": "3"}, patched.data
    steps = [{"op": "replace", "path": "/data/b", "value": "two"}]
    patched = core.patch_namespaced_config_map("first", NAMESPACE, steps)
    assert patched.data["b"] == "two", patched.data
    for kind in ["application/merge-patch+json", "application/strategic-merge-patch+json"]:
        patched = core.patch_namespaced_config_map(
            "first", NAMESPACE, {"metadata": {"labels": {"kind": kind[12:17]}}}, _content_type=kind
        )
        assert patched.metadata.labels["kind"] == kind[12:17]
    dry = core.patch_namespaced_config_map("first", NAMESPACE, {"data": {"d": "4"}}, dry_run="All")
    assert dry.data["d"] == "4"
    assert "d" not in core.read_namespaced_config_map("first", NAMESPACE).data

    for name in ["second", "third"]:
        core.create_namespaced_config_map(
            NAMESPACE, {"metadata": {"name": name, "labels": {"app": "other"}}}
        )
    chosen = core.list_namespaced_config_map(NAMESPACE, label_selector="app in (python)")
    assert [item.metadata.name for item in chosen.items] == ["first"]
    named = core.list_namespaced_config_map(NAMESPACE, field_selector="metadata.name=third")
    assert [item.metadata.name for item in named.items] == ["third"]
    page = core.list_namespaced_config_map(NAMESPACE, limit=1, label_selector="app")
    names = [item.metadata.name for item in page.items]
    while page.metadata._continue:
        page = core.list_namespaced_config_map(
            NAMESPACE, limit=1, label_selector="app", _continue=page.metadata._continue
        )
        names += [item.metadata.name for item in page.items]
    assert names == ["first", "second", "third"], names

    status = core.delete_namespaced_config_map("first", NAMESPACE)
    assert status.status == "Success" and status.details.name == "first", status
    refused(404, "NotFound", core.read_namespaced_config_map, "first", NAMESPACE)
    core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="app=other")
    assert not core.list_namespaced_config_map(NAMESPACE, label_selector="app").items
    bad = {"metadata": {"name": "Bad_Name"}}
    error = refused(422, "Invalid", core.create_namespaced_config_map, NAMESPACE, bad)
    assert '"field":"metadata.name"' in error.body, error.body


def watching(core):
    """A watch sees each change in order; it ends when its time is over and goes on from where it was."""
    begin = core.list_namespaced_secret(NAMESPACE).metadata.resource_version
    core.create_namespaced_secret(NAMESPACE, {"metadata": {"name": "s"}, "stringData": {"k": "v"}})
    core.patch_namespaced_secret("s", NAMESPACE, {"metadata": {"labels": {"a": "b"}}})
    core.delete_namespaced_secret("s", NAMESPACE)
    seen = []
    watcher = watch.Watch()
    for event in watcher.stream(
        core.list_namespaced_secret, NAMESPACE, resource_version=begin, timeout_seconds=LIMIT
    ):
        secret = event["object"]
        assert isinstance(secret, client.V1Secret), secret
        seen.append((event["type"], secret.metadata.name, secret.data))
        if event["type"] == "DELETED":
            watcher.stop()
    data = {"k": "dg=="}
    assert seen == [("ADDED", "s", data), ("MODIFIED", "s", data), ("DELETED", "s", data)], seen
    old = watch.Watch().stream(
        core.list_namespaced_secret, NAMESPACE, resource_version=begin, timeout_seconds=1
    )
    assert [event["type"] for event in old] == ["ADDED", "MODIFIED", "DELETED"]


def applying(api):
    """Server-side apply by the dynamic client: ownership, conflicts, force."""
    maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")

    def apply(manager, data, **named):
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "applied", "namespace": NAMESPACE},
            "data": data,
        }
        return maps.server_side_apply(body, namespace=NAMESPACE, field_manager=manager, **named)

    made = apply("one", {"a": "1", "b": "1"})
    assert [(entry.manager, entry.operation) for entry in made.metadata.managedFields] == [
        ("one", "Apply")
    ], made.metadata
    assert apply("one", {"a": "1", "b": "1"}).metadata.resourceVersion == made.metadata.resourceVersion
    try:
        apply("two", {"a": "2"})
        raise AssertionError("no conflict")
    except ConflictError as error:
        assert 'conflict with \\"one\\": .data.a' in str(error.body), error.body
    forced = apply("two", {"a": "2"}, force_conflicts=True)
    assert dict(forced.data) == {"a": "2", "b": "1"}, forced.data
    left = apply("one", {})
    assert dict(left.data) == {"a": "2"}, left.data


def workload(api, core):
    """A Deployment gets its pods, is scaled, and its pods are spoken to."""
    apps = client.AppsV1Api(api)
    script = 'echo one; echo two >&2; sleep 3600'
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [
                        {"name": "c", "image": "busybox:1.36", "command": ["sh", "-c", script]}
                    ],
                },
            },
        },
    }
    utils.create_from_dict(api, deployment, namespace=NAMESPACE)
    watcher = watch.Watch()
    for event in watcher.stream(
        apps.list_namespaced_deployment, NAMESPACE, timeout_seconds=LIMIT
    ):
        if event["object"].status.available_replicas == 1:
            watcher.stop()
    scaled = apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 2}})
    assert scaled.spec.replicas == 2 and scaled.kind == "Scale", scaled

    def running():
        pods = core.list_namespaced_pod(NAMESPACE, label_selector="app=web").items
        ready = [pod for pod in pods if pod.status.phase == "Running"]
        return ready if len(ready) == 2 else None

    pod = eventually("two pods run", running)[0].metadata.name
    logs(core, pod)
    executing(core, pod)
    apps.delete_namespaced_deployment("web", NAMESPACE, propagation_policy="Foreground")
    eventually("no pods are left", lambda: not core.list_namespaced_pod(NAMESPACE).items)


def logs(core, pod):
    def read(**named):
        # Asked for text, version 36 of the client gives the name of the bytes.
        named["_preload_content"] = False
        return core.read_namespaced_pod_log(pod, NAMESPACE, **named).data.decode()

    assert read() == "one\ntwo\n"
    assert read(tail_lines=1) == "two\n"
    assert read(container="c", timestamps=True).startswith("20")
    refused(400, "BadRequest", core.read_namespaced_pod_log, pod, NAMESPACE, container="nobody")
    following = core.read_namespaced_pod_log(
        pod, NAMESPACE, follow=True, _preload_content=False, _request_timeout=LIMIT
    )
    assert [following.readline(), following.readline()] == [b"one\n", b"two\n"]
    following.close()


def executing(core, pod):
    run = core.connect_get_namespaced_pod_exec
    said = stream(run, pod, NAMESPACE, command=["echo", "hi"], stdout=True, stderr=True)
    assert said == "hi\n", said
    both = stream(
        run,
        pod,
        NAMESPACE,
        command=["sh", "-c", "echo out; echo err >&2; exit 3"],
        stdout=True,
        stderr=True,
        _preload_content=False,
    )
    both.run_forever(timeout=LIMIT)
    assert (both.read_stdout(), both.read_stderr(), both.returncode) == ("out\n", "err\n", 3)
    talk = stream(
        run,
        pod,
        NAMESPACE,
        command=["cat"],
        stdin=True,
        stdout=True,
        stderr=True,
        _preload_content=False,
    )
    talk.write_stdin("there and back\n")
    assert talk.readline_stdout(timeout=LIMIT) == "there and back"
    talk.close()


def custom(api):
    """A kind of one's own."""
    group, version, plural = "python.example.com", "v1", "boats"
    definitions = client.ApiextensionsV1Api(api)
    definitions.create_custom_resource_definition(
        {
            "metadata": {"name": f"{plural}.{group}"},
            "spec": {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": plural, "singular": "boat", "kind": "Boat"},
                "versions": [
                    {
                        "name": version,
                        "served": True,
                        "storage": True,
                        "subresources": {"status": {}},
                        "schema": {
                            "openAPIV3Schema": {
                                "type": "object",
                                "x-kubernetes-preserve-unknown-fields": True,
                            }
                        },
                    }
                ],
            },
        }
    )

    def established():
        found = definitions.read_custom_resource_definition(f"{plural}.{group}").status.conditions
        return any(c.type == "Established" and c.status == "True" for c in found or [])

    eventually("the kind is served", established)
    boats = client.CustomObjectsApi(api)
    at = (group, version, NAMESPACE, plural)
    body = {"apiVersion": f"{group}/{version}", "kind": "Boat", "metadata": {"name": "ketch"}}
    made = boats.create_namespaced_custom_object(*at, dict(body, spec={"masts": 2}))
    assert made["metadata"]["generation"] == 1, made
    patched = boats.patch_namespaced_custom_object(*at, "ketch", {"spec": {"masts": 3}})
    assert patched["spec"] == {"masts": 3} and patched["metadata"]["generation"] == 2, patched
    told = boats.patch_namespaced_custom_object_status(*at, "ketch", {"status": {"afloat": True}})
    assert told["status"] == {"afloat": True}, told
    assert len(boats.list_namespaced_custom_object(*at)["items"]) == 1
    gone = boats.delete_namespaced_custom_object(*at, "ketch")
    assert gone["status"] == "Success", gone
    definitions.delete_custom_resource_definition(f"{plural}.{group}")


def many_at_once(core):
    """Writers that meet: each reads again after a conflict, and no step is lost."""
    core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "n"}, "data": {"n": "0"}})

    def count():
        for _ in range(5):
            while True:
                held = core.read_namespaced_config_map("n", NAMESPACE)
                held.data["n"] = str(int(held.data["n"]) + 1)
                try:
                    core.replace_namespaced_config_map("n", NAMESPACE, held)
                    break
                except ApiException as error:
                    assert error.status == 409, error

    writers = [threading.Thread(target=count) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert core.read_namespaced_config_map("n", NAMESPACE).data["n"] == "20"


def main():
    config.load_kube_config()
    api = client.ApiClient()
    core = client.CoreV1Api(api)
    parts = [
        (discovery, (api,)),
        (objects, (core,)),
        (watching, (core,)),
        (applying, (api,)),
        (workload, (api, core)),
        (custom, (api,)),
        (many_at_once, (core,)),
        (every_list, (api,)),
    ]
    for part, arguments in parts:
        begin = time.monotonic()
        part(*arguments)
        print(f"{part.__name__}: {time.monotonic() - begin:.2f} s", flush=True)
    core.delete_namespace(NAMESPACE)


main()
