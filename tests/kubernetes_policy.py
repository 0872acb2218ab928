"""Evaluates the admission policy that ships, as an API server would: `kubernetes_policy.py POLICY`.

Each mutation's CEL expression gets the pod as the mutation before it left it. `Object.spec.volumes{...}` and the like are
typed by the schemas of a Kubernetes version, so a field that the API does not have is found. The pods must be valid by
these schemas afterwards, and apart from what the policy adds, as they were.
"""

import copy
import functools
import json
import pathlib
import sys

import celpy
import celpy.celtypes
import celpy.evaluation
import kubernetes_validate
import yaml

VERSIONS = ["1.36.0", "1.37.0"]
SCHEMAS = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
HOOK = {"exec": {"command": ["/opt/adieu/adieu", "--wait"]}}

BARE = """
spec:
  terminationGracePeriodSeconds: 30
  containers: [{name: web, image: "web:1"}]
"""
FULL = """
spec:
  terminationGracePeriodSeconds: 75
  volumes: [{name: data, emptyDir: {}}]
  initContainers: [{name: migrate, image: "web:1"}]
  containers:
    - name: web
      image: web:1
      env: [{name: PORT, value: "8080"}]
      volumeMounts: [{name: data, mountPath: /data}]
      lifecycle: {postStart: {exec: {command: ["true"]}}}
    - {name: proxy, image: "proxy:1"}
"""
HOOKED = """
spec:
  terminationGracePeriodSeconds: 30
  containers: [{name: web, image: "web:1", lifecycle: {preStop: {sleep: {seconds: 5}}}}]
"""


def fieldinits(self, tree):
    """cel-python 0.5.0 takes the condition of `field: a ? b : c` for its value."""
    pairs = zip(tree.children[0::2], tree.children[1::2])
    return celpy.celtypes.MessageType({name.value: self.visit(value) for name, value in pairs})


celpy.evaluation.Evaluator.fieldinits = fieldinits


class Shape(celpy.celtypes.MessageType):
    """A type named in CEL: knows its fields, and makes an object from some of them."""

    def __init__(self, name, schema, version):
        super().__init__()
        self.name, self.schema, self.version = name, resolve(schema, version), version

    def get(self, field, default=None):
        fields = resolve(self.schema.get("items", self.schema), self.version).get("properties", {})
        if field not in fields:
            raise SystemExit(f"{self.name} has no field {field}")
        return Shape(f"{self.name}.{field}", fields[field], self.version)

    def __call__(self, given):
        for field in given or {}:
            self.get(field)
        return celpy.celtypes.MapType(given or {})


def resolve(schema, version):
    while "$ref" in schema:
        schema = definitions(version)[schema["$ref"].rsplit("/", 1)[1]]
    return schema


@functools.cache
def definitions(version):
    return json.loads((SCHEMAS / f"v{version}-local" / "_definitions.json").read_text())["$defs"]


def evaluate(expression, pod, version):
    root = json.loads((SCHEMAS / f"v{version}-local" / "pod-v1.json").read_text())
    patch = {"properties": {name: {} for name in ("op", "path", "from", "value")}}
    names = {
        "object": celpy.json_to_cel(pod),
        "Object": Shape("Object", root, version),
        "JSONPatch": Shape("JSONPatch", patch, version),
    }
    environment = celpy.Environment()
    value = environment.program(environment.compile(expression)).evaluate(names)
    return json.loads(json.dumps(value, cls=celpy.CELJSONEncoder))


def add(pod, path, value):
    """JSON Patch's `add`, RFC 6902: into an object, before an item of a list, or at its end."""
    *folders, last = path.strip("/").split("/")
    place = pod
    for folder in folders:
        place = place[int(folder)] if isinstance(place, list) else place[folder]
    if isinstance(place, list):
        place.insert(len(place) if last == "-" else int(last), value)
    else:
        assert last not in place, f"{path} would be replaced"
        place[last] = value


def mutate(policy, pod, version):
    """The pod after the policy; the same one where a condition does not match."""
    spec, pod = policy["spec"], copy.deepcopy(pod)
    if not all(evaluate(condition["expression"], pod, version) for condition in spec["matchConditions"]):
        return pod
    for mutation in spec["mutations"]:
        for patch in evaluate(mutation["jsonPatch"]["expression"], pod, version):
            assert patch["op"] == "add", patch
            add(pod, patch["path"], patch["value"])
    return pod


def take_out(pod):
    """Takes out what the policy is to add, and returns it."""
    spec, web = pod["spec"], pod["spec"]["containers"][0]
    found = [spec["initContainers"].pop(0)]
    found += [spec["volumes"].pop(), web["volumeMounts"].pop(), web["env"].pop(), web["lifecycle"].pop("preStop")]
    for place in (spec, web):
        for key in [key for key, value in place.items() if value in ([], {})]:
            del place[key]
    return found


def main(policy):
    for version in VERSIONS:
        for text in (BARE, FULL):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, **yaml.safe_load(text)}
            grace = pod["spec"]["terminationGracePeriodSeconds"]
            kubernetes_validate.validate(pod, version, strict=True)
            after = mutate(policy, pod, version)
            kubernetes_validate.validate(after, version, strict=True)
            init, volume, mount, variable, hook = take_out(after)
            assert after == pod, f"more has changed: {after}"
            assert init["command"] == ["/adieu", "--install", "/opt/adieu/adieu"], init
            assert volume == {"name": "adieu", "emptyDir": {}}, volume
            assert mount == {"name": "adieu", "mountPath": "/opt/adieu", "readOnly": True}, mount
            assert variable == {"name": "ADIEU_GRACE", "value": f"{grace}s"}, variable
            assert hook == HOOK, hook
        hooked = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, **yaml.safe_load(HOOKED)}
        assert mutate(policy, hooked, version) == hooked, "a pod with a hook of its own has changed"


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        [policy] = [document for document in yaml.safe_load_all(file) if document["kind"] == "MutatingAdmissionPolicy"]
    main(policy)
