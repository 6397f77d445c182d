"""Write a replication core in Python and let Roundtrip test it.

A core is a subclass of `Core`. Override the methods of the operations that your product has and
call `run`; every other operation refuses with `not-supported`, and the suite skips the rules that
need it. `full_copy.py`, beside this file, is a complete core.

The types are those of the crate `roundtrip-contract`, where each field is documented. Times are
milliseconds since the Unix epoch, durations are milliseconds and sizes are bytes.

In virtual time asyncio's own timers follow the suite's clock, and time stands still while the core
works: while a callback is ready, a subprocess of `asyncio.create_subprocess_exec` runs, or a thread
of `asyncio.to_thread` does. A core does nothing for that. It must not wait in other ways.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import contextvars
import dataclasses
import enum
import functools
import inspect
import itertools
import json
import math
import os
import selectors
import signal
import socket
import sys
import time
import traceback
import types
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, NewType, TypeVar, Union, cast, final

PROTOCOL = "1.0"
MOST_BYTES = 16 * 1024 * 1024
"""The longest message."""

Json = dict[str, Any]
T = TypeVar("T")

SiteId = NewType("SiteId", str)
MachineId = NewType("MachineId", str)
DiskId = NewType("DiskId", str)
VolumeId = NewType("VolumeId", str)
ExportId = NewType("ExportId", str)
SnapshotId = NewType("SnapshotId", str)
ChangeId = NewType("ChangeId", str)
ItemId = NewType("ItemId", str)
PointId = NewType("PointId", str)
JobId = NewType("JobId", str)
PlanId = NewType("PlanId", str)
PolicyId = NewType("PolicyId", str)
GroupId = NewType("GroupId", str)
GroupPointId = NewType("GroupPointId", str)
ComponentId = NewType("ComponentId", str)
Volumes = list[tuple[DiskId, VolumeId]]


# --- Types of the contract ------------------------------------------------------------------------


def _kebab(name: str, _start: int, _count: int, _last: list[str]) -> str:
    return name.lower().replace("_", "-")


class Word(enum.StrEnum):
    """A fixed set of words: the member `IN_USE` is `in-use` on the wire."""

    _generate_next_value_ = staticmethod(_kebab)


auto = enum.auto


class ErrorCode(Word):
    """Stable reason for which a core refuses or fails."""

    NOT_ALLOWED_IN_STATE = auto()
    UNKNOWN_ID = auto()
    NO_RECOVERY_POINT = auto()
    POINT_EXPIRED = auto()
    WRONG_DIRECTION = auto()
    NOT_SUPPORTED = auto()
    BUSY = auto()
    SHUTDOWN_FAILED = auto()
    BAD_REQUEST = auto()
    APP_CONSISTENCY_DISABLED = auto()
    MULTI_VM_NEEDS_GROUP = auto()
    READ_ONLY = auto()
    IN_USE = auto()
    ALREADY_PROTECTED = auto()
    HYDRATION_FAILED = auto()
    CONFIGURATION_SERVER_DISCONNECTED = auto()
    MACHINE_NOT_REGISTERED = auto()
    PROCESS_SERVER_NOT_GIVEN = auto()
    PROCESS_SERVER_UNKNOWN = auto()
    PROCESS_SERVER_DISCONNECTED = auto()
    PRIVATE_LINK_DOWN = auto()
    PORT_BLOCKED = auto()
    MASTER_TARGET_NOT_GIVEN = auto()
    MASTER_TARGET_UNKNOWN = auto()
    MASTER_TARGET_DISCONNECTED = auto()
    MASTER_TARGET_FOREIGN = auto()
    MASTER_TARGET_WRONG_OS = auto()
    MASTER_TARGET_HAS_SNAPSHOTS = auto()
    UUID_CLASH = auto()
    MASTER_TARGET_FULL = auto()
    RETENTION_DRIVE_NOT_GIVEN = auto()
    RETENTION_DRIVE_UNKNOWN = auto()
    DATASTORE_NOT_GIVEN = auto()
    DATASTORE_UNKNOWN = auto()
    DATASTORE_NOT_MOUNTED = auto()
    DATASTORES_NOT_LISTED = auto()
    VCENTER_DISCONNECTED = auto()
    VCENTER_NOT_DISCOVERED = auto()
    HOST_EDITION_FREE = auto()
    RELEASE_NOT_SUPPORTED = auto()
    MACHINE_MIGRATED = auto()
    MACHINE_MOVED = auto()
    CLOUD_MACHINE_GONE = auto()
    CLOUD_MACHINE_OFF = auto()
    FAILBACK_SITE_NOT_GIVEN = auto()
    FAILBACK_SITE_UNFIT = auto()
    NAME_TAKEN = auto()
    HOST_DISCONNECTED = auto()
    HOST_UNKNOWN = auto()
    HOST_NOT_PREPARED = auto()
    SWITCH_MISSING = auto()
    MACHINE_MISSING = auto()
    MANAGED_DISKS = auto()
    CERTIFICATE_NOT_GIVEN = auto()
    CERTIFICATE_WRONG = auto()
    ILLEGAL_NAME = auto()
    TOO_MANY_DISKS = auto()
    GROUP_MIXES_OS = auto()
    GROUP_MIXES_MASTER_TARGETS = auto()
    DISK_RESIZED = auto()
    PLATFORM = auto()
    CANCELLED = auto()
    NOT_CURABLE = auto()
    MOVED_ON = auto()
    PLAN_EXISTS = auto()
    PLAN_TOO_LARGE = auto()
    ONLY_THROUGH_PLAN = auto()
    MEMBER_FAILED = auto()
    SCRIPT_FAILED = auto()
    STORE = auto()
    PROTOCOL = auto()


class PlatformErrorKind(Word):
    NOT_FOUND = auto()
    EXISTS = auto()
    WRONG_POWER_STATE = auto()
    UNREACHABLE = auto()
    TIMED_OUT = auto()
    FULL = auto()
    UNSUPPORTED = auto()
    NOT_QUIESCED = auto()
    DENIED = auto()
    FAILED = auto()


class PlatformKind(Word):
    HYPER_V = auto()
    VMWARE = auto()
    PHYSICAL = auto()
    AZURE = auto()
    KVM = auto()


class Side(Word):
    PRIMARY = auto()
    RECOVERY = auto()


class Direction(Word):
    PRIMARY_TO_RECOVERY = auto()
    RECOVERY_TO_PRIMARY = auto()


class Phase(Word):
    INITIAL_REPLICATION = auto()
    PROTECTED = auto()
    COMMIT_PENDING = auto()
    COMMITTED = auto()
    STOPPED = auto()


class Operation(Word):
    UNPLANNED_FAILOVER = auto()
    PLANNED_FAILOVER = auto()
    TEST_FAILOVER = auto()
    TEST_FAILOVER_CLEANUP = auto()
    COMPLETE_FAILOVER = auto()
    CANCEL_FAILOVER = auto()
    CHANGE_POINT = auto()
    COMMIT = auto()
    REPROTECT = auto()
    REVERSE_REPLICATE = auto()
    DISABLE_PROTECTION = auto()
    VERIFY = auto()


class Health(Word):
    HEALTHY = auto()
    WARNING = auto()
    CRITICAL = auto()
    NOT_APPLICABLE = auto()


class TestFailoverStatus(Word):
    RECOMMENDED = auto()
    PERFORMED = auto()
    NOT_APPLICABLE = auto()


class IssueClass(Word):
    MISSING_CONFIGURATION = auto()
    MISSING_RESOURCE = auto()
    SUBSCRIPTION_QUOTA = auto()
    SOFTWARE_UPDATE = auto()


class JobKind(Word):
    ENABLE_PROTECTION = auto()
    DISABLE_PROTECTION = auto()
    UNPLANNED_FAILOVER = auto()
    PLANNED_FAILOVER = auto()
    TEST_FAILOVER = auto()
    TEST_FAILOVER_CLEANUP = auto()
    CHANGE_POINT = auto()
    COMMIT = auto()
    REPROTECT = auto()
    REVERSE_REPLICATE = auto()
    VERIFY = auto()


class JobState(Word):
    IN_PROGRESS = auto()
    WAITING_FOR_COMPLETION = auto()
    WAITING_FOR_MANUAL_ACTION = auto()
    COMPLETED = auto()
    COMPLETED_WITH_WARNING = auto()
    PARTIALLY_SUCCEEDED = auto()
    FAILED = auto()
    CANCELLED = auto()

    @property
    def ended(self) -> bool:
        return self.value not in ("in-progress", "waiting-for-completion", "waiting-for-manual-action")


class JobAction(Word):
    COMPLETE = auto()
    RESUME = auto()
    CANCEL = auto()
    RETRY = auto()


class StepState(Word):
    IN_PROGRESS = auto()
    DONE = auto()
    WARNING = auto()
    FAILED = auto()


class FailoverKind(Word):
    UNPLANNED = auto()
    PLANNED = auto()


class DataSync(Word):
    BEFORE_FAILOVER = auto()
    DURING_FAILOVER = auto()


class Consistency(Word):
    CRASH = auto()
    APP = auto()


class Network(Word):
    PRODUCTION = auto()
    ISOLATED = auto()


class Access(Word):
    READ = auto()
    WRITE = auto()


class Acknowledge(Word):
    ADVANCE = auto()
    KEEP = auto()


class PowerState(Word):
    ON = auto()
    OFF = auto()


class Firmware(Word):
    BIOS = auto()
    UEFI = auto()


class GuestOs(Word):
    LINUX = auto()
    WINDOWS = auto()


class DiskKind(Word):
    STORAGE_ACCOUNT = auto()
    MANAGED = auto()


class ChangesUnavailable(Word):
    LOG_FULL = auto()
    RECORD_LOST = auto()


class Choice(Word):
    """The choices of a recovery point that need no id."""

    LATEST = auto()
    LATEST_PROCESSED = auto()
    LATEST_APP_CONSISTENT = auto()
    LATEST_MULTI_VM = auto()
    LATEST_MULTI_VM_APP_CONSISTENT = auto()


@dataclass(frozen=True)
class Custom:
    """The choice of this recovery point."""

    custom: PointId


PointChoice = Union[Choice, Custom]


class CoreError(Exception):
    """The refusal or failure of a core."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class PlatformError(Exception):
    """The refusal or failure of a platform."""

    def __init__(self, site: str, kind: PlatformErrorKind, message: str) -> None:
        super().__init__(f"{site}: {message}")
        self.site, self.kind, self.message = site, kind, message


class ProtocolError(Exception):
    """The peer does not keep to the protocol."""


@dataclass
class Policy:
    source: PlatformKind
    interval: int
    retention: int
    app_consistent_every: int | None
    rpo_threshold: int
    most_points: int | None


@dataclass
class PolicyView:
    id: PolicyId
    policy: Policy
    direction: Direction
    counterpart: PolicyId | None
    configuration_servers: list[tuple[SiteId, ComponentId]] = field(default_factory=list)


@dataclass
class Placement:
    host: ComponentId | None = None
    switch: str | None = None
    resource_group: str | None = None
    size: str | None = None
    availability_set: str | None = None
    disk_kind: DiskKind = DiskKind.STORAGE_ACCOUNT
    subnet: str | None = None
    address: str | None = None


@dataclass
class NicSpec:
    network: Network = Network.PRODUCTION
    subnet: str | None = None
    address: str | None = None


@dataclass
class TargetSettings:
    machine: MachineId
    memory: int
    network: Network | None = None
    placement: Placement = field(default_factory=Placement)
    encrypted_with: str | None = None
    more_nics: list[NicSpec] = field(default_factory=list)


@dataclass
class EnableProtection:
    item: ItemId
    primary: SiteId
    machine: MachineId
    recovery: SiteId
    target: TargetSettings
    policy: PolicyId
    group: GroupId | None = None


@dataclass
class AlternateHost:
    host: ComponentId
    create_machine: bool


@dataclass
class FailoverRequest:
    item: ItemId
    kind: FailoverKind
    direction: Direction
    point: PointChoice
    shut_down_source: bool
    shutdown_within: int
    data_sync: DataSync | None = None
    alternate: AlternateHost | None = None
    certificate: str | None = None


@dataclass
class TestFailoverRequest:
    item: ItemId
    point: PointChoice
    network: Network


@dataclass
class ReprotectRequest:
    item: ItemId
    direction: Direction
    failback_site: SiteId | None = None
    process_server: ComponentId | None = None
    master_target: ComponentId | None = None
    datastore: ComponentId | None = None
    retention_drive: str | None = None


@dataclass
class Protection:
    phase: Phase
    active: Side


@dataclass
class RecoveryPoint:
    id: PointId
    time: int
    consistency: Consistency
    processed: bool
    multi_vm: GroupPointId | None
    change_id: ChangeId
    transferred: int
    volumes: Volumes


@dataclass
class Resynchronisation:
    at: int
    why: ChangesUnavailable
    compared: int
    sent: int


@dataclass
class Verification:
    at: int
    compared: int
    different: int


@dataclass
class ConfigurationIssue:
    # `class` on the wire; see `_WIRE_NAMES`.
    class_: IssueClass
    what: str


@dataclass
class ItemView:
    id: ItemId
    protection: Protection
    health: Health
    trouble: str
    primary: tuple[SiteId, MachineId]
    recovery: tuple[SiteId, MachineId]
    allowed: list[Operation]
    job: JobId | None
    policy: PolicyView
    group: GroupId | None
    points: list[RecoveryPoint]
    failed_over_to: PointId | None
    test_failover: MachineId | None
    test_failover_status: TestFailoverStatus
    synchronisation_incomplete: bool
    target: TargetSettings
    issues: list[ConfigurationIssue]
    resynchronisations: list[Resynchronisation] = field(default_factory=list)
    verification: Verification | None = None


@dataclass
class JobSubject:
    """Exactly one of the two is given."""

    item: ItemId | None = None
    plan: PlanId | None = None


@dataclass
class JobFilter:
    item: ItemId | None = None
    plan: PlanId | None = None
    parent: JobId | None = None
    state: JobState | None = None
    kind: JobKind | None = None


@dataclass
class CoreFailure:
    """A `CoreError` as part of a job's record."""

    code: ErrorCode
    message: str


@dataclass
class Step:
    SHUT_DOWN_SOURCE: ClassVar[str] = "shut down source"
    PROCESS_RECEIVED: ClassVar[str] = "process received data"
    HYDRATE: ClassVar[str] = "hydrate"
    MERGE_SNAPSHOTS: ClassVar[str] = "merge snapshots"
    CREATE_MACHINE: ClassVar[str] = "create machine"

    name: str
    state: StepState
    started: int
    took: int | None = None
    note: str = ""
    progress: tuple[int, int] | None = None


@dataclass
class JobView:
    id: JobId
    subject: JobSubject
    parent: JobId | None
    kind: JobKind
    direction: Direction
    state: JobState
    revision: int
    actions: list[JobAction]
    attempt: int
    plan: Json | None
    steps: list[Step]
    error: CoreFailure | None
    started: int
    ended: int | None


@dataclass
class PlanLimits:
    groups: int = 0
    items: int = 0


@dataclass
class Capabilities:
    name: str
    operations: list[Operation]
    plans: PlanLimits
    windows_registry: bool = False
    several_nics: bool = False


@dataclass
class SiteView:
    id: SiteId
    kind: PlatformKind
    boot_drivers: list[str]


@dataclass
class Component:
    """A component of a site. `kind` is the JSON of the contract's `ComponentKind`."""

    id: ComponentId
    connected: bool
    kind: Json


@dataclass
class GuestFacts:
    release: str
    agent: tuple[int, int]
    dhcp_service: bool
    boot_drivers: list[str]
    ssh_at_boot: bool = True


@dataclass
class DiskView:
    id: DiskId
    volume: VolumeId
    size: int


@dataclass
class LibvirtDomain:
    uri: str
    name: str


@dataclass
class MachineView:
    id: MachineId
    power: PowerState
    firmware: Firmware
    os: GuestOs
    memory: int
    disks: list[DiskView]
    guest: GuestFacts
    uuid: str = ""
    snapshots: int = 0
    placement: Placement = field(default_factory=Placement)
    process_server: ComponentId | None = None
    disks_on: ComponentId | None = None
    migrated: bool = False
    nic: Json = field(default_factory=dict)
    more_nics: list[Json] = field(default_factory=list)
    boot_entry: str | None = None
    libvirt: LibvirtDomain | None = None


@dataclass
class MachineSpec:
    id: MachineId
    firmware: Firmware
    os: GuestOs
    memory: int
    disks: Volumes
    network: Network
    guest: GuestFacts
    placement: Placement
    boot_entry: str | None = None
    more_nics: list[NicSpec] = field(default_factory=list)


@dataclass
class SnapshotRequest:
    machines: list[tuple[MachineId, ChangeId | None]]
    consistency: Consistency


@dataclass
class SnapshotDisk:
    id: DiskId
    size: int
    uri: str
    changed: str | None


@dataclass
class DiskSnapshot:
    id: SnapshotId
    taken_at: int
    change_id: ChangeId
    disks: list[SnapshotDisk]
    changes_unavailable: ChangesUnavailable | None = None


@dataclass
class VolumeView:
    id: VolumeId
    size: int
    parent: VolumeId | None
    allocated: int
    datastore: ComponentId | None = None


@dataclass
class Export:
    id: ExportId
    uri: str


# --- JSON -----------------------------------------------------------------------------------------

_WIRE_NAMES = {"class_": "class"}
# An object whose absent members are left out instead of being null.
_TAGGED = (JobSubject,)


def to_json(value: object) -> Any:
    """The JSON of a value of the contract."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        pairs = ((one.name, to_json(getattr(value, one.name))) for one in dataclasses.fields(value))
        keep = not isinstance(value, _TAGGED)
        return {_WIRE_NAMES.get(name, name): one for name, one in pairs if keep or one is not None}
    if isinstance(value, (list, tuple)):
        return [to_json(one) for one in value]
    if isinstance(value, dict):
        return {key: to_json(one) for key, one in value.items()}
    return value


@functools.lru_cache(maxsize=None)
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def from_json(kind: Any, data: Any, where: str = "value") -> Any:
    """Reads a value of a type from JSON. Unknown members are ignored, so that newer suites work.

    Raises `ProtocolError`, which says where the JSON does not fit.
    """
    kind = getattr(kind, "__supertype__", kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return data
    if origin in (Union, types.UnionType):
        return _union_from_json(arguments, data, where)
    if origin in (list, tuple):
        return _array_from_json(origin, arguments, data, where)
    if origin is dict and isinstance(data, dict):
        return {key: from_json(arguments[1], one, f"{where}.{key}") for key, one in data.items()}
    if dataclasses.is_dataclass(kind) and isinstance(data, dict):
        return _object_from_json(kind, data, where)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        with contextlib.suppress(ValueError):
            return kind(data)
    elif type(data) is kind:
        return data
    raise ProtocolError(f"{where}: {json.dumps(data)[:80]} is no {getattr(kind, '__name__', kind)}")


def _union_from_json(kinds: Sequence[Any], data: Any, where: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    found: Exception | None = None
    for kind in kinds:
        try:
            return from_json(kind, data, where)
        except ProtocolError as error:
            found = found or error
    raise found or ProtocolError(f"{where}: no type fits")


def _array_from_json(origin: Any, kinds: Sequence[Any], data: Any, where: str) -> Any:
    fixed = origin is tuple
    if not isinstance(data, list) or fixed and len(data) != len(kinds):
        raise ProtocolError(f"{where}: {json.dumps(data)[:80]} is no list that fits")
    each = kinds if fixed else itertools.repeat(kinds[0])
    return origin(from_json(kind, one, f"{where}[{i}]") for i, (kind, one) in enumerate(zip(each, data)))


def _object_from_json(kind: Any, data: Json, where: str) -> Any:
    hints, values = _hints(kind), {}
    for one in dataclasses.fields(kind):
        name = _WIRE_NAMES.get(one.name, one.name)
        optional = (
            one.default is not dataclasses.MISSING
            or one.default_factory is not dataclasses.MISSING
            or type(None) in typing.get_args(hints[one.name])
        )
        if name in data:
            values[one.name] = from_json(hints[one.name], data[name], f"{where}.{name}")
        elif not optional:
            raise ProtocolError(f"{where}: {name} is missing")
        elif one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            values[one.name] = None
    return kind(**values)


# --- Time -----------------------------------------------------------------------------------------


class _IdleSelector(selectors.DefaultSelector):
    """Says when the event loop has nothing left to do."""

    idle: Callable[[], None] | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.idle:
            self.idle()
        return super().select(timeout)


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that knows when it is idle, and whose timers can follow the suite's clock."""

    def __init__(self) -> None:
        self.selector = _IdleSelector()
        self.outside = 0
        self.virtual_clock: Clock | None = None
        self._waits: set[asyncio.Task[None]] = set()
        super().__init__(self.selector)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        clock = self.virtual_clock
        if clock is None:
            return super().call_at(when, callback, *args, context=context)
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        delay = math.ceil(max(0.0, when - self.time()) * 1000 - 0.5)

        async def wait(clock: Clock) -> None:
            await clock.sleep(delay)
            if not handle.cancelled():
                callback(*args)

        self._waits.add(task := self.create_task(wait(clock), context=context))
        task.add_done_callback(self._waits.discard)
        return handle

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        future = super().run_in_executor(executor, func, *args)
        self._count(future)
        return future

    async def subprocess_exec(self, *args: Any, **options: Any) -> Any:
        return await self._counted(super().subprocess_exec(*args, **options))

    async def subprocess_shell(self, *args: Any, **options: Any) -> Any:
        return await self._counted(super().subprocess_shell(*args, **options))

    async def _counted(self, starting: Coroutine[Any, Any, Any]) -> Any:
        self.outside += 1
        try:
            transport, protocol = await starting
        finally:
            self.outside -= 1
        # The same that `Process.wait` waits for.
        self._count(self.create_task(transport._wait()))
        return transport, protocol

    def _count(self, future: asyncio.Future[Any]) -> None:
        def ended(_: asyncio.Future[Any]) -> None:
            self.outside -= 1

        self.outside += 1
        future.add_done_callback(ended)


class Clock:
    """The time: the suite's if it is virtual, this host's otherwise."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.virtual = False

    async def now(self) -> int:
        return self._connection.told if self.virtual else time.time_ns() // 1_000_000

    async def sleep(self, duration: int) -> None:
        await self.sleep_until(await self.now() + duration)

    async def sleep_until(self, moment: int) -> None:
        if self.virtual:
            await self._connection.call("clock.sleep_until", {"time": moment})
            return
        while (left := moment - await self.now()) > 0:
            await asyncio.sleep(left / 1000)


# --- The connection -------------------------------------------------------------------------------

CORE_ERROR, PLATFORM_ERROR, CANCELLED = -32000, -32001, -32800


class Connection:
    """JSON-RPC 2.0 in both directions, one message a line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self.serve_request: Callable[[str, Json], Awaitable[Any]] | None = None
        # How many messages have come, and the virtual time that the suite told last.
        self.received, self.told = 0, 0
        self._reported = -1

    async def call(self, method: str, params: Json) -> Any:
        """Asks the suite and waits for its answer. A cancelled call is cancelled there, too."""
        if self._writer.is_closing():
            raise ConnectionResetError("the suite closed the connection")
        number = next(self._ids)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send({"id": number, "method": method, "params": params})
        try:
            return await self._waiting[number]
        except asyncio.CancelledError:
            self.notify("rpc.cancel", {"id": number})
            raise
        finally:
            del self._waiting[number]

    def notify(self, method: str, params: Json) -> None:
        self._send({"method": method, "params": params})

    def idle(self) -> None:
        """Tells the suite that this core has no work in progress, once for each message."""
        loop = cast(_Loop, asyncio.get_event_loop())
        if loop.outside == 0 and self._reported != self.received:
            self._reported = self.received
            self.notify("clock.idle", {"received": self.received})

    def _send(self, message: Json) -> None:
        line = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n"
        if len(line) > MOST_BYTES:
            raise ProtocolError(f"a message of {len(line)} bytes is too long; {MOST_BYTES} is the limit")
        if not self._writer.is_closing():
            self._writer.write(line)

    async def serve(self) -> None:
        """Handles messages until the suite closes the connection."""
        try:
            while line := await self._reader.readline():
                self.received += 1
                self._handle(line)
        except (ConnectionError, ValueError) as error:
            print(f"the connection to the suite ends: {error}", file=sys.stderr)
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(ConnectionResetError("the suite closed the connection"))
            for task in list(self._running.values()):
                task.cancel()
            self._writer.close()

    def _handle(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError as error:
            self._send({"id": None, "error": {"code": -32700, "message": f"no JSON: {error}"}})
            return
        if not isinstance(message, dict):
            self._send({"id": None, "error": {"code": -32600, "message": "no request"}})
        elif "method" not in message:
            self._handle_answer(message)
        elif message["method"] == "clock.time":
            self.told = message.get("params", {}).get("time", self.told)
        elif message["method"] == "rpc.cancel":
            if task := self._running.get(json.dumps(message.get("params", {}).get("id"))):
                task.cancel()
        else:
            key = json.dumps(message.get("id"))
            task = asyncio.get_running_loop().create_task(self._answer(message))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))

    def _handle_answer(self, message: Json) -> None:
        future = self._waiting.get(cast(int, message.get("id")))
        if future is None or future.done():
            return
        if error := message.get("error"):
            future.set_exception(_error_of(error))
        else:
            future.set_result(message.get("result"))

    async def _answer(self, message: Json) -> None:
        answer: Json
        try:
            assert self.serve_request is not None
            answer = {"result": await self.serve_request(message["method"], message.get("params") or {})}
        except asyncio.CancelledError:
            answer = {"error": {"code": CANCELLED, "message": "the request was cancelled"}}
        except Exception as error:
            answer = {"error": _describe(error)}
        if "id" in message:
            self._send({"id": message["id"], **answer})


def _error_of(error: Json) -> Exception:
    if error.get("code") == PLATFORM_ERROR:
        data = error.get("data") or {}
        kind = from_json(PlatformErrorKind, data.get("kind"), "error.data.kind")
        return PlatformError(str(data.get("site")), kind, str(data.get("message")))
    return ProtocolError(f"{error.get('message')} ({error.get('code')})")


def _core_error(code: ErrorCode, message: str) -> Json:
    return {"code": CORE_ERROR, "message": message, "data": {"code": code.value, "message": message}}


def _describe(error: Exception) -> Json:
    match error:
        case CoreError() | PlatformError():
            failure = failure_of(error)
            return _core_error(failure.code, failure.message)
        case ProtocolError():
            return {"code": -32602, "message": str(error)}
        case NotImplementedError():
            return {"code": -32601, "message": str(error)}
    traceback.print_exception(error)
    return {"code": -32603, "message": f"the core has a bug: {error!r}"}


def failure_of(error: BaseException) -> CoreFailure:
    """An exception as the failure of a job."""
    match error:
        case CoreError():
            return CoreFailure(error.code, error.message)
        case asyncio.CancelledError():
            return CoreFailure(ErrorCode.CANCELLED, "the job was cancelled")
        case PlatformError():
            return CoreFailure(ErrorCode.PLATFORM, str(error))
    traceback.print_exception(error)
    return CoreFailure(ErrorCode.PLATFORM, repr(error))


@final
class Platform:
    """One site. Each method is that of the contract's trait `Platform`, and raises `PlatformError`."""

    def __init__(self, connection: Connection, site: SiteId) -> None:
        self._connection, self.id = connection, site

    async def _call(self, kind: Any, method: str, **params: object) -> Any:
        arguments = {"site": self.id, **{name: to_json(value) for name, value in params.items()}}
        return from_json(kind, await self._connection.call(f"platform.{method}", arguments), method)

    async def site(self) -> SiteView:
        return cast(SiteView, await self._call(SiteView, "site"))

    async def infrastructure(self) -> list[Component]:
        return cast(list[Component], await self._call(list[Component], "infrastructure"))

    async def connect_agent(self, machine: MachineId, process_server: ComponentId | None = None) -> None:
        await self._call(Any, "connect_agent", machine=machine, process_server=process_server)

    async def attach_to_master_target(self, machine: MachineId, master_target: ComponentId) -> None:
        await self._call(Any, "attach_to_master_target", machine=machine, master_target=master_target)

    async def detach_from_master_target(self, machine: MachineId) -> None:
        await self._call(Any, "detach_from_master_target", machine=machine)

    async def merge_snapshots(self, machine: MachineId) -> None:
        await self._call(Any, "merge_snapshots", machine=machine)

    async def machine(self, id: MachineId) -> MachineView:
        return cast(MachineView, await self._call(MachineView, "machine", id=id))

    async def machines(self) -> list[MachineView]:
        return cast(list[MachineView], await self._call(list[MachineView], "machines"))

    async def create_machine(self, spec: MachineSpec) -> MachineView:
        return cast(MachineView, await self._call(MachineView, "create_machine", spec=spec))

    async def delete_machine(self, id: MachineId) -> None:
        await self._call(Any, "delete_machine", id=id)

    async def start(self, id: MachineId) -> None:
        await self._call(Any, "start", id=id)

    async def shut_down(self, id: MachineId, within: int) -> None:
        await self._call(Any, "shut_down", id=id, within=within)

    async def power_off(self, id: MachineId) -> None:
        await self._call(Any, "power_off", id=id)

    async def screenshot(self, id: MachineId) -> bytes:
        return base64.b64decode(await self._call(str, "screenshot", id=id))

    async def open_snapshot(self, machine: MachineId, since: ChangeId | None = None) -> DiskSnapshot:
        return cast(
            DiskSnapshot, await self._call(DiskSnapshot, "open_snapshot", machine=machine, since=since)
        )

    async def open_snapshots(self, request: SnapshotRequest) -> list[DiskSnapshot]:
        return cast(
            list[DiskSnapshot], await self._call(list[DiskSnapshot], "open_snapshots", request=request)
        )

    async def close_snapshot(self, snapshot: SnapshotId, acknowledge: Acknowledge) -> None:
        await self._call(Any, "close_snapshot", snapshot=snapshot, acknowledge=acknowledge)

    async def stop_tracking(self, machine: MachineId) -> None:
        await self._call(Any, "stop_tracking", machine=machine)

    async def volume(self, id: VolumeId) -> VolumeView:
        return cast(VolumeView, await self._call(VolumeView, "volume", id=id))

    async def create_volume(
        self, id: VolumeId, size: int, datastore: ComponentId | None = None
    ) -> VolumeView:
        made = await self._call(VolumeView, "create_volume", id=id, size=size, datastore=datastore)
        return cast(VolumeView, made)

    async def derive_volume(self, id: VolumeId, parent: VolumeId) -> VolumeView:
        return cast(VolumeView, await self._call(VolumeView, "derive_volume", id=id, parent=parent))

    async def merge_volumes(self, top: VolumeId, base: VolumeId) -> None:
        await self._call(Any, "merge_volumes", top=top, base=base)

    async def delete_volume(self, id: VolumeId) -> None:
        await self._call(Any, "delete_volume", id=id)

    async def export_volume(self, id: VolumeId, access: Access) -> Export:
        return cast(Export, await self._call(Export, "export_volume", id=id, access=access))

    async def close_export(self, id: ExportId) -> None:
        await self._call(Any, "close_export", id=id)

    async def close_all(self) -> None:
        await self._call(Any, "close_all")

    async def remove_machine(self, machine: MachineId, disks: Volumes) -> None:
        """Removes a machine and these volumes, whatever of them exists. A machine of that name with
        other volumes is somebody else's and stays."""
        volumes = {volume for _, volume in disks}
        for view in await self.machines():
            if view.id == machine and volumes.issuperset(disk.volume for disk in view.disks):
                await self.power_off(machine)
                await self.delete_machine(machine)
        for volume in volumes:
            await self.delete_volume(volume)

    @contextlib.asynccontextmanager
    async def exported(self, volume: VolumeId, access: Access) -> AsyncIterator[str]:
        """Exports a volume while the block runs, and closes the export afterwards."""

        async def close(export: Export) -> None:
            await self.close_export(export.id)

        export = await _opened(self.export_volume(volume, access), close)
        try:
            yield export.uri
        finally:
            await close(export)

    @contextlib.asynccontextmanager
    async def snapshot(self, machine: MachineId, consistency: Consistency) -> AsyncIterator[DiskSnapshot]:
        """Takes a snapshot of a machine, and closes it when the block ends."""

        async def close(snapshots: list[DiskSnapshot], done: bool = False) -> None:
            for snapshot in snapshots:
                await self.close_snapshot(snapshot.id, Acknowledge.ADVANCE if done else Acknowledge.KEEP)

        opening = self.open_snapshots(SnapshotRequest([(machine, None)], consistency))
        [snapshot], done = await _opened(opening, close), False
        try:
            yield snapshot
            done = True
        finally:
            await close([snapshot], done)


async def _opened(opening: Coroutine[Any, Any, T], close: Callable[[T], Awaitable[None]]) -> T:
    """Opens something. If the task is cancelled meanwhile, it is opened all the same, and closed."""
    task = asyncio.ensure_future(opening)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(PlatformError, ConnectionError):
            await close(await task)
        raise


# --- Helpers of a core ----------------------------------------------------------------------------


class Signal:
    """Wakes everything that waits for a change."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def wait(self) -> None:
        """Waits for the next change."""
        self._waiting.append(future := asyncio.get_running_loop().create_future())
        await future

    async def until(self, check: Callable[[], T | None]) -> T:
        """Waits until `check` returns something, and returns that. It may raise."""
        while (found := check()) is None:
            await self.wait()
        return found


def full_point(
    id: PointId, snapshot: DiskSnapshot, consistency: Consistency, volumes: Volumes
) -> RecoveryPoint:
    """The recovery point that is a full copy of a snapshot."""
    return RecoveryPoint(
        id=id,
        time=snapshot.taken_at,
        consistency=consistency,
        processed=True,
        multi_vm=None,
        change_id=snapshot.change_id,
        transferred=sum(disk.size for disk in snapshot.disks),
        volumes=volumes,
    )


async def execute(*command: str) -> str:
    """Runs a program and returns what it prints. If it fails, what it says is the error's message.

    A program that is still running when the task is cancelled is killed.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    try:
        printed, said = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        why = said.decode(errors="replace").strip()[-500:]
        raise CoreError(ErrorCode.PLATFORM, f"{command[0]} exited with {process.returncode}: {why}")
    return printed.decode(errors="replace")


class Store:
    """Values that outlive the process: one file each in the core's state directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, name: str, value: object) -> None:
        """Replaces a value. It is durable when this returns."""
        path = self._path(name)
        new = path.with_suffix(".new")
        try:
            with new.open("w", encoding="utf-8") as file:
                json.dump(to_json(value), file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
        except OSError as error:
            raise CoreError(ErrorCode.STORE, f"cannot write {path}: {error}") from error

    def load(self, name: str, kind: type[T], default: T) -> T:
        """Reads a value; `default` if it was never saved."""
        path = self._path(name)
        if not path.exists():
            return default
        try:
            return cast(T, from_json(kind, json.loads(path.read_text(encoding="utf-8")), str(path)))
        except (OSError, ValueError, ProtocolError) as error:
            raise CoreError(ErrorCode.STORE, f"cannot read {path}: {error}") from error

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


@dataclass
class JobRecord:
    """A job as it is stored: its view, and the method of the core that performs it."""

    view: JobView
    method: str
    arguments: list[Any]


class Job:
    """A job at work. The method that performs it gets it as its first argument."""

    def __init__(self, jobs: Jobs, record: JobRecord) -> None:
        self._jobs, self.record, self.warned = jobs, record, False

    @property
    def view(self) -> JobView:
        return self.record.view

    def changed(self) -> None:
        self.view.revision += 1
        self._jobs.changed()

    @contextlib.asynccontextmanager
    async def step(self, name: str, *, optional: bool = False) -> AsyncIterator[Step]:
        """A step, for as long as the block runs. If an optional step fails, the job continues."""
        step = Step(name, StepState.IN_PROGRESS, await self._jobs.clock.now())
        self.view.steps.append(step)
        self.changed()
        try:
            yield step
        except (CoreError, PlatformError) as error:
            step.state = StepState.WARNING if optional else StepState.FAILED
            step.note, self.warned = str(error), True
            if not optional:
                raise
        except Exception as error:
            step.state, step.note = StepState.FAILED, repr(error)
            raise
        else:
            step.state = StepState.DONE
        finally:
            # A step that is cancelled, because the core closes, is done again by the next process.
            if step.state != StepState.IN_PROGRESS:
                step.took = await self._jobs.clock.now() - step.started
                self.changed()


class Jobs:
    """All jobs of a core, stored, so that a core that was killed continues them."""

    def __init__(self, core: Core) -> None:
        self._core, self.clock, self._signal = core, core.clock, Signal()
        self._records: list[JobRecord] = core.store.load("jobs", cast(Any, list[JobRecord]), [])
        self.on_end: Callable[[JobView], None] = lambda _: None

    def changed(self) -> None:
        self._core.store.save("jobs", self._records)
        self._signal.notify()

    async def start(
        self,
        kind: JobKind,
        item: ItemId,
        method: Callable[..., Awaitable[None]],
        *arguments: object,
        direction: Direction = Direction.PRIMARY_TO_RECOVERY,
    ) -> JobId:
        """Starts a job and returns its id.

        `method` is a method of the core that takes the job and the arguments, all of them values of
        the contract. It is called again if the core was killed meanwhile, so each of its steps must
        accept that it was done before.
        """
        now = await self.clock.now()
        view = JobView(
            id=JobId(f"job-{len(self._records) + 1}"),
            subject=JobSubject(item=item),
            parent=None,
            kind=kind,
            direction=direction,
            state=JobState.IN_PROGRESS,
            revision=1,
            actions=[],
            attempt=1,
            plan=None,
            steps=[],
            error=None,
            started=now,
            ended=None,
        )
        record = JobRecord(view, method.__name__, [to_json(one) for one in arguments])
        self._records.append(record)
        self.changed()
        self._core.spawn(self._perform(record))
        return view.id

    def resume(self) -> None:
        """Continues the jobs that were at work when the core was killed."""
        for record in self._records:
            if not record.view.state.ended:
                record.view.steps.clear()
                record.view.revision += 1
                self._core.spawn(self._perform(record))

    async def _perform(self, record: JobRecord) -> None:
        job, view = Job(self, record), record.view
        method = getattr(self._core, record.method)
        hints = list(_parameters(method).values())[1:]
        arguments = [from_json(kind, one, record.method) for kind, one in zip(hints, record.arguments)]
        try:
            await method(job, *arguments)
            state, error = JobState.COMPLETED, None
            if job.warned:
                state = JobState.COMPLETED_WITH_WARNING
        except Exception as reason:
            state, error = JobState.FAILED, failure_of(reason)
        view.ended = await self.clock.now()
        view.state, view.error = state, error
        self.on_end(view)
        job.changed()

    def running(self, item: ItemId) -> JobId | None:
        """The job that is working on an item."""
        views = (record.view for record in self._records)
        return next((v.id for v in views if v.subject.item == item and not v.state.ended), None)

    def view(self, job: JobId) -> JobView:
        for record in self._records:
            if record.view.id == job:
                return record.view
        raise CoreError(ErrorCode.UNKNOWN_ID, f"there is no job {job}")

    def matching(self, filter: JobFilter) -> list[JobView]:
        def matches(view: JobView) -> bool:
            wanted = ((filter.item, view.subject.item), (filter.plan, view.subject.plan))
            more = ((filter.parent, view.parent), (filter.state, view.state), (filter.kind, view.kind))
            return all(value is None or value == found for value, found in wanted + more)

        return [record.view for record in self._records if matches(record.view)]

    async def watch(self, job: JobId, after: int) -> JobView:
        def news() -> JobView | None:
            found = self.view(job)
            return found if found.revision > after or found.state.ended else None

        return await self._signal.until(news)


# --- The core -------------------------------------------------------------------------------------


def _parameters(method: Callable[..., object]) -> dict[str, Any]:
    hints = dict(_hints(getattr(method, "__func__", method)))
    hints.pop("return", None)
    return hints


_OPERATIONS: Mapping[str, Operation] = {
    "failover": Operation.UNPLANNED_FAILOVER,
    "test_failover": Operation.TEST_FAILOVER,
    "clean_up_test_failover": Operation.TEST_FAILOVER_CLEANUP,
    "complete_failover": Operation.COMPLETE_FAILOVER,
    "cancel_failover": Operation.CANCEL_FAILOVER,
    "change_point": Operation.CHANGE_POINT,
    "commit": Operation.COMMIT,
    "reprotect": Operation.REPROTECT,
    "reverse_replicate": Operation.REVERSE_REPLICATE,
    "disable_protection": Operation.DISABLE_PROTECTION,
    "verify": Operation.VERIFY,
}


def _refuse(operation: str) -> CoreError:
    return CoreError(ErrorCode.NOT_SUPPORTED, f"this core does not implement {operation}")


class Core:
    """A replication core. Each method is that of the contract's trait `ReplicationCore`.

    Override the methods of the operations that you support; the capabilities follow from them. A
    method refuses by raising `CoreError`. When `opened` is called, `sites`, `clock`, `store` and
    `jobs` are there, and everything that an earlier process left open at the sites is closed.
    """

    name: ClassVar[str] = "core"
    version: ClassVar[str] = "0"
    planned_failover: ClassVar[bool] = False
    """Whether `failover` also performs planned failovers."""
    several_nics: ClassVar[bool] = False
    """Whether it recovers every network card of a machine; `ItemCore.spec` asks for all."""
    time: ClassVar[Sequence[str]] = ("system", "virtual")
    """The kinds of time that this core works with; take `virtual` out if it waits by itself."""

    sites: dict[SiteId, Platform]
    clock: Clock
    store: Store
    jobs: Jobs
    state_dir: Path

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Starts a task that ends with the core."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            traceback.print_exception(error)

    async def opened(self) -> None:
        """Called once, before any request: load what you stored, and continue your work."""

    async def capabilities(self) -> Capabilities:
        found = [op for name, op in _OPERATIONS.items() if self._overrides(name)]
        if self.planned_failover:
            found.append(Operation.PLANNED_FAILOVER)
        several = self.several_nics
        return Capabilities(f"{self.name} {self.version}", found, PlanLimits(), several_nics=several)

    def _overrides(self, name: str) -> bool:
        return getattr(type(self), name) is not getattr(Core, name)

    async def create_policy(self, id: PolicyId, policy: Policy) -> None:
        raise _refuse("create_policy")

    async def update_policy(self, id: PolicyId, policy: Policy) -> None:
        raise _refuse("update_policy")

    async def delete_policy(self, id: PolicyId) -> None:
        raise _refuse("delete_policy")

    async def policies(self) -> list[PolicyView]:
        raise _refuse("policies")

    async def enable_protection(self, request: EnableProtection) -> JobId:
        raise _refuse("enable_protection")

    async def disable_protection(self, item: ItemId) -> JobId:
        raise _refuse("disable_protection")

    async def update_target(self, item: ItemId, target: TargetSettings) -> ItemView:
        raise _refuse("update_target")

    async def check_configuration(self, item: ItemId) -> ItemView:
        raise _refuse("check_configuration")

    async def item(self, item: ItemId) -> ItemView:
        raise CoreError(ErrorCode.UNKNOWN_ID, f"there is no item {item}")

    async def items(self) -> list[ItemView]:
        raise _refuse("items")

    async def watch_points(self, item: ItemId, count: int) -> ItemView:
        raise _refuse("watch_points")

    async def watch_health(self, item: ItemId, known: Health) -> ItemView:
        raise _refuse("watch_health")

    async def failover(self, request: FailoverRequest) -> JobId:
        raise _refuse("failover")

    async def test_failover(self, request: TestFailoverRequest) -> JobId:
        raise _refuse("test_failover")

    async def clean_up_test_failover(self, item: ItemId) -> JobId:
        raise _refuse("clean_up_test_failover")

    async def complete_failover(self, item: ItemId) -> None:
        raise _refuse("complete_failover")

    async def cancel_failover(self, item: ItemId) -> None:
        raise _refuse("cancel_failover")

    async def change_point(self, item: ItemId, point: PointChoice) -> JobId:
        raise _refuse("change_point")

    async def commit(self, item: ItemId) -> JobId:
        raise _refuse("commit")

    async def reprotect(self, request: ReprotectRequest) -> JobId:
        raise _refuse("reprotect")

    async def reverse_replicate(self, item: ItemId) -> JobId:
        raise _refuse("reverse_replicate")

    async def verify(self, item: ItemId) -> JobId:
        raise _refuse("verify")

    async def create_plan(self, plan: Json) -> None:
        raise _refuse("create_plan")

    async def delete_plan(self, plan: PlanId) -> None:
        raise _refuse("delete_plan")

    async def plans(self) -> list[Json]:
        raise _refuse("plans")

    async def failover_plan(self, request: Json) -> JobId:
        raise _refuse("failover_plan")

    async def test_failover_plan(self, request: Json) -> JobId:
        raise _refuse("test_failover_plan")

    async def clean_up_test_failover_plan(self, plan: PlanId) -> JobId:
        raise _refuse("clean_up_test_failover_plan")

    async def commit_plan(self, plan: PlanId) -> JobId:
        raise _refuse("commit_plan")

    async def reprotect_plan(self, request: Json) -> JobId:
        raise _refuse("reprotect_plan")

    async def retry_job(self, job: JobId) -> None:
        raise _refuse("retry_job")

    async def resume_job(self, job: JobId) -> None:
        raise _refuse("resume_job")

    async def cancel_job(self, job: JobId) -> None:
        raise _refuse("cancel_job")

    async def jobs_list(self, filter: JobFilter) -> list[JobView]:
        """The contract's method `jobs`."""
        return self.jobs.matching(filter)

    async def job(self, job: JobId) -> JobView:
        return self.jobs.view(job)

    async def watch_job(self, job: JobId, after: int) -> JobView:
        return await self.jobs.watch(job, after)

    async def close(self) -> None:
        """Stops all work. Override it if you have to stop more than what `spawn` started."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


DAY = 24 * 60 * 60 * 1000


class PolicyCore(Core):
    """A core that keeps policies as the contract describes them. Your class may be derived from it."""

    def _policies(self) -> dict[PolicyId, PolicyView]:
        return self.store.load("policies", cast(Any, dict[PolicyId, PolicyView]), {})

    def policy(self, id: PolicyId) -> PolicyView:
        """A policy; `unknown-id` if there is none of that name."""
        if found := self._policies().get(id):
            return found
        raise CoreError(ErrorCode.UNKNOWN_ID, f"there is no policy {id}")

    def uses_policy(self, id: PolicyId) -> bool:
        """Whether an item is under a policy, which then cannot be deleted."""
        return False

    async def create_policy(self, id: PolicyId, policy: Policy) -> None:
        found = self._policies()
        if id in found:
            raise CoreError(ErrorCode.IN_USE, f"policy {id} exists")
        found[id] = PolicyView(id, policy, Direction.PRIMARY_TO_RECOVERY, None)
        if policy.source in (PlatformKind.VMWARE, PlatformKind.PHYSICAL):
            back = PolicyId(f"{id}-failback")
            fixed = {"retention": DAY, "app_consistent_every": DAY // 24, "rpo_threshold": DAY // 96}
            found[id].counterpart = back
            found[back] = PolicyView(
                back, dataclasses.replace(policy, **fixed), Direction.RECOVERY_TO_PRIMARY, id,
                await self._configuration_servers(policy.source),
            )  # fmt: skip
        self.store.save("policies", found)

    async def _configuration_servers(self, kind: PlatformKind) -> list[tuple[SiteId, ComponentId]]:
        found: list[tuple[SiteId, ComponentId]] = []
        for id, site in self.sites.items():
            with contextlib.suppress(PlatformError):
                if (await site.site()).kind == kind:
                    components = await site.infrastructure()
                    servers = (one for one in components if one.kind["type"] == "configuration-server")
                    found.extend((id, one.id) for one in itertools.islice(servers, 1))
        return found

    async def _know_servers(self, view: PolicyView, kind: PlatformKind) -> PolicyView:
        """Adds configuration servers that came later to a policy's failback policy."""
        found = self._policies()
        if view.counterpart in found:
            found[view.counterpart].configuration_servers = await self._configuration_servers(kind)
            self.store.save("policies", found)
        return found[view.id]

    async def update_policy(self, id: PolicyId, policy: Policy) -> None:
        view, found = self.policy(id), self._policies()
        if view.direction == Direction.RECOVERY_TO_PRIMARY:
            raise CoreError(ErrorCode.READ_ONLY, f"{id} is a failback policy, which cannot be changed")
        found[id].policy = policy
        self.store.save("policies", found)

    async def delete_policy(self, id: PolicyId) -> None:
        view, found = self.policy(id), self._policies()
        if view.direction == Direction.RECOVERY_TO_PRIMARY:
            raise CoreError(ErrorCode.READ_ONLY, f"{id} goes with its counterpart {view.counterpart}")
        if self.uses_policy(id):
            raise CoreError(ErrorCode.IN_USE, f"an item is under policy {id}")
        for name in (id, view.counterpart):
            found.pop(cast(PolicyId, name), None)
        self.store.save("policies", found)

    async def policies(self) -> list[PolicyView]:
        return list(self._policies().values())


@dataclass
class Item:
    """What a core stores about an item. Derive a class from it to store more."""

    view: ItemView
    source: MachineView
    source_site: SiteView
    points_made: int = 0
    numbers: int = 0
    tried: int = 0
    app_consistent: int = 0
    not_quiesced: str = ""
    held: PointId | None = None
    chosen: PointId | None = None

    def next_number(self) -> int:
        """A number that this item has not had, for names. It is stored with the next `save`."""
        self.numbers += 1
        return self.numbers

    @property
    def network(self) -> Network:
        """The network of the machine on the recovery side."""
        return self.view.target.network or Network.PRODUCTION

    @property
    def replicated(self) -> bool:
        return self.view.protection.phase in (Phase.INITIAL_REPLICATION, Phase.PROTECTED)


I = TypeVar("I", bound=Item)

_ALLOWED: Mapping[Phase, Sequence[Operation]] = {
    Phase.INITIAL_REPLICATION: (),
    Phase.PROTECTED: (
        Operation.UNPLANNED_FAILOVER,
        Operation.TEST_FAILOVER,
        Operation.TEST_FAILOVER_CLEANUP,
        Operation.DISABLE_PROTECTION,
    ),
    Phase.COMMIT_PENDING: (Operation.CHANGE_POINT, Operation.COMMIT),
    Phase.COMMITTED: (Operation.DISABLE_PROTECTION,),
    Phase.STOPPED: (Operation.DISABLE_PROTECTION,),
}


class ItemCore(PolicyCore, Generic[I]):
    """A core that replicates in one direction: it keeps items, takes points at their time and drops
    old ones. A class that is derived from it says how a point is taken and deleted, and what each
    operation does."""

    item_type: type[I]
    """The class of the items: `Item`, or a class that is derived from it."""

    async def take_point(self, item: I, consistency: Consistency) -> RecoveryPoint:
        """Makes a recovery point of the machine as it is now."""
        raise NotImplementedError

    async def delete_point(self, item: I, point: RecoveryPoint) -> None:
        """Deletes what belongs to a point, which is no longer listed."""

    async def discard(self, item: I) -> None:
        """Deletes everything that belongs to an item except a machine that failed over."""
        raise NotImplementedError

    def _overrides(self, name: str) -> bool:
        if name == "disable_protection":
            return type(self).discard is not ItemCore.discard
        return super()._overrides(name)

    def check_pair(self, primary: SiteView, recovery: SiteView) -> None:
        """Refuses to protect machines between these sites, if this core cannot."""

    # What it shows

    async def opened(self) -> None:
        kind = cast(Any, dict)[ItemId, self.item_type]
        self._items: dict[ItemId, I] = self.store.load("items", kind, {})
        self._changed, self._replicating = Signal(), dict[ItemId, asyncio.Task[None]]()
        for item in self._items.values():
            if item.view.protection.phase == Phase.PROTECTED:
                self.start_replication(item)

    def save(self) -> None:
        """Stores all items, and wakes those who watch them."""
        self.store.save("items", self._items)
        self._changed.notify()

    def find(self, id: ItemId) -> I:
        """The item; `unknown-id` if there is none of that name."""
        if id not in self._items:
            raise CoreError(ErrorCode.UNKNOWN_ID, f"there is no item {id}")
        return self._items[id]

    def known_site(self, id: SiteId) -> Platform:
        """The site; `unknown-id` if there is none of that name."""
        if id not in self.sites:
            raise CoreError(ErrorCode.UNKNOWN_ID, f"there is no site {id}")
        return self.sites[id]

    def sites_of(self, item: I) -> tuple[Platform, Platform]:
        """The primary and the recovery site of an item."""
        return self.sites[item.view.primary[0]], self.sites[item.view.recovery[0]]

    async def item(self, item: ItemId) -> ItemView:
        found, now, job = self.find(item), await self.clock.now(), self.jobs.running(item)
        view, policy = found.view, self.policy(found.view.policy.id)
        phase, status = view.protection.phase, view.test_failover_status
        oldest, used = now - policy.policy.retention, (found.held, found.chosen)
        kept = [point for point in view.points if point.time >= oldest or point.id in used]
        if phase != Phase.PROTECTED:
            status = TestFailoverStatus.NOT_APPLICABLE
        unfit = Operation.TEST_FAILOVER if view.test_failover else Operation.TEST_FAILOVER_CLEANUP
        supported = (await self.capabilities()).operations
        allowed = [one for one in _ALLOWED[phase] if one in supported and one != unfit and not job]
        health, trouble = self._health(found, policy.policy, now)
        return dataclasses.replace(
            view,
            policy=policy,
            points=kept or view.points[-1:],
            job=job,
            allowed=allowed,
            test_failover_status=status,
            health=health,
            trouble=trouble,
        )

    def _health(self, item: I, policy: Policy, now: int) -> tuple[Health, str]:
        view = item.view
        newest = view.points[-1].time if view.points else now
        if not item.replicated:
            return Health.NOT_APPLICABLE, ""
        if view.trouble:
            return Health.CRITICAL, view.trouble
        if now - newest > policy.rpo_threshold:
            return Health.WARNING, f"the newest data is {now - newest} ms old"
        return (Health.WARNING, item.not_quiesced) if item.not_quiesced else (Health.HEALTHY, "")

    async def items(self) -> list[ItemView]:
        return [await self.item(id) for id in self._items]

    def uses_policy(self, id: PolicyId) -> bool:
        return any(item.view.policy.id == id for item in self._items.values())

    async def watch_points(self, item: ItemId, count: int) -> ItemView:
        while (found := self.find(item)).points_made < count:
            if not found.replicated:
                raise CoreError(ErrorCode.NOT_ALLOWED_IN_STATE, f"{item} is not replicated")
            await self._changed.wait()
        return await self.item(item)

    async def watch_health(self, item: ItemId, known: Health) -> ItemView:
        while (view := await self.item(item)).health == known:
            # Data also becomes too old when nothing happens.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), view.policy.policy.interval / 1000)
        return view

    # What a request may ask for

    async def checked(self, id: ItemId, operation: Operation) -> I:
        """The item, if the operation is allowed now."""
        view = await self.item(id)
        if view.job:
            raise CoreError(ErrorCode.BUSY, f"{view.job} is working on {id}")
        if operation not in view.allowed:
            why = f"{id} is in phase {view.protection.phase} and does not allow {operation}"
            raise CoreError(ErrorCode.NOT_ALLOWED_IN_STATE, why)
        return self.find(id)

    async def checked_failover(self, request: FailoverRequest) -> I:
        """The item, if it can fail over as the request asks."""
        item = await self.checked(request.item, Operation.UNPLANNED_FAILOVER)
        if request.direction != Direction.PRIMARY_TO_RECOVERY:
            raise CoreError(ErrorCode.WRONG_DIRECTION, f"{request.item} fails over to the recovery side")
        if request.kind == FailoverKind.PLANNED and not self.planned_failover:
            raise CoreError(ErrorCode.NOT_SUPPORTED, "this core has no planned failover")
        point = await self.choose(request.item, request.point)
        # It does not expire while the failover waits for its source to shut down.
        item.chosen = point.id if isinstance(request.point, Custom) else None
        return item

    async def checked_test_failover(self, request: TestFailoverRequest) -> I:
        """The item, if a test failover can start as the request asks."""
        if request.network == Network.PRODUCTION:
            raise CoreError(ErrorCode.BAD_REQUEST, "a test failover needs an isolated network")
        item = await self.checked(request.item, Operation.TEST_FAILOVER)
        item.held = (await self.choose(request.item, request.point)).id
        return item

    def spec(self, item: I, machine: MachineId, disks: Volumes, network: Network) -> MachineSpec:
        """What the item's machine is like on the recovery side."""
        source, target = item.source, item.view.target
        # Subnets and addresses belong to the network that was chosen for the failover.
        chosen = network == item.network
        placement = target.placement if chosen else Placement()
        nics = [*(target.more_nics if chosen else []), *(NicSpec(network) for _ in source.more_nics)]
        return MachineSpec(
            machine,
            source.firmware,
            source.os,
            target.memory,
            disks,
            network,
            source.guest,
            placement,
            source.boot_entry,
            nics[: len(source.more_nics)],
        )

    async def choose(self, id: ItemId, choice: PointChoice) -> RecoveryPoint:
        """The point that a choice means; the error with which the choice is refused."""
        view, choices = await self.item(id), Choice
        points = [point for point in view.points if point.processed]
        if isinstance(choice, Custom):
            points = [point for point in points if point.id == choice.custom]
            if not points:
                made = any(point.id == choice.custom for point in self.find(id).view.points)
                made = made or choice.custom.startswith(f"{id}-point-")
                code = ErrorCode.POINT_EXPIRED if made else ErrorCode.UNKNOWN_ID
                raise CoreError(code, f"{id} has no recovery point {choice.custom}")
        elif choice in (choices.LATEST_MULTI_VM, choices.LATEST_MULTI_VM_APP_CONSISTENT):
            why = "a multi-VM point can be chosen only for a plan with a replication group"
            raise CoreError(ErrorCode.MULTI_VM_NEEDS_GROUP, why)
        elif choice == choices.LATEST_APP_CONSISTENT:
            if view.policy.policy.app_consistent_every is None:
                why = "the policy takes no application-consistent points"
                raise CoreError(ErrorCode.APP_CONSISTENCY_DISABLED, why)
            points = [point for point in points if point.consistency == Consistency.APP]
        if not points:
            raise CoreError(ErrorCode.NO_RECOVERY_POINT, f"{id} has no such recovery point yet")
        return points[-1]

    # Replication

    async def disable_protection(self, item: ItemId) -> JobId:
        await self.checked(item, Operation.DISABLE_PROTECTION)
        return await self.jobs.start(JobKind.DISABLE_PROTECTION, item, self._end_protection, item)

    async def _end_protection(self, job: Job, id: ItemId) -> None:
        async with job.step("delete recovery points"):
            if id in self._items:
                await self.forget(self.find(id))

    async def enable_protection(self, request: EnableProtection) -> JobId:
        if type(self).take_point is ItemCore.take_point:
            raise _refuse("enable_protection")
        machine = (request.primary, request.machine)
        if request.item in self._items or any(i.view.primary == machine for i in self._items.values()):
            raise CoreError(ErrorCode.ALREADY_PROTECTED, f"{request.machine} is protected already")
        primary, recovery = self.known_site(request.primary), self.known_site(request.recovery)
        policy = self.policy(request.policy)
        if request.group is not None:
            raise CoreError(ErrorCode.NOT_SUPPORTED, "this core has no replication groups")
        try:
            source = await primary.machine(request.machine)
        except PlatformError as error:
            absent = error.kind == PlatformErrorKind.NOT_FOUND
            raise CoreError(ErrorCode.UNKNOWN_ID if absent else ErrorCode.PLATFORM, str(error)) from error
        source_site = await primary.site()
        self.check_pair(source_site, await recovery.site())
        view = ItemView(
            id=request.item,
            protection=Protection(Phase.INITIAL_REPLICATION, Side.PRIMARY),
            health=Health.HEALTHY,
            trouble="",
            primary=machine,
            recovery=(request.recovery, request.target.machine),
            allowed=[],
            job=None,
            policy=policy,
            group=None,
            points=[],
            failed_over_to=None,
            test_failover=None,
            test_failover_status=TestFailoverStatus.RECOMMENDED,
            synchronisation_incomplete=False,
            target=request.target,
            issues=[],
        )
        view.policy = await self._know_servers(policy, source_site.kind)
        self._items[request.item] = self.item_type(view, source, source_site)
        self.save()
        return await self.jobs.start(
            JobKind.ENABLE_PROTECTION, request.item, self._begin_protection, request.item
        )

    async def _begin_protection(self, job: Job, id: ItemId) -> None:
        item = self.find(id)
        try:
            async with job.step("initial replication"):
                await self._add_point(item)
        except Exception:
            await self.forget(item)
            raise
        item.view.protection.phase = Phase.PROTECTED
        self.save()
        self.start_replication(item)

    async def forget(self, item: I) -> None:
        """Ends replication, discards what belongs to the item, and removes the item."""
        await self.stop_replication(item)
        if self._overrides("disable_protection"):
            await self.discard(item)
        with contextlib.suppress(PlatformError):
            await self.sites_of(item)[0].stop_tracking(item.view.primary[1])
        del self._items[item.view.id]
        self.save()

    def start_replication(self, item: I) -> None:
        """Begins to take points at the policy's interval."""
        self._replicating[item.view.id] = self.spawn(self._replicate(item))

    async def stop_replication(self, item: I) -> None:
        """Ends that. A point that is being taken is given up."""
        if task := self._replicating.pop(item.view.id, None):
            task.cancel()
            await asyncio.wait([task])

    async def _replicate(self, item: I) -> None:
        while True:
            await self._sleep_until_due(item)
            try:
                await self._add_point(item)
            except (CoreError, PlatformError) as error:
                item.view.trouble = str(error)
            self.save()

    async def _sleep_until_due(self, item: I) -> None:
        """Waits until an interval after the last point. The clock may jump in both directions."""
        while True:
            now, interval = await self.clock.now(), self.policy(item.view.policy.id).policy.interval
            if not item.tried <= now < item.tried + interval:
                return
            await self.clock.sleep_until(item.tried + interval)

    async def _add_point(self, item: I) -> None:
        policy, item.tried = self.policy(item.view.policy.id).policy, await self.clock.now()
        every, consistency = policy.app_consistent_every, Consistency.CRASH
        if every is not None and item.tried - item.app_consistent >= every:
            consistency = Consistency.APP
        item.not_quiesced = ""
        try:
            point = await self.take_point(item, consistency)
        except PlatformError as error:
            if error.kind != PlatformErrorKind.NOT_QUIESCED:
                raise
            item.not_quiesced = str(error)
            point = await self.take_point(item, Consistency.CRASH)
        if point.consistency == Consistency.APP:
            item.app_consistent = item.tried
        item.view.points.append(point)
        item.points_made += 1
        item.view.trouble = ""
        dropped = self._expired(item, policy)
        item.view.points = [point for point in item.view.points if point not in dropped]
        self.save()
        for point in dropped:
            await self.delete_point(item, point)

    async def last_point(self, item: I) -> None:
        """Takes a point at once, when replication has stopped and the source is off."""
        await self._add_point(item)

    def _expired(self, item: I, policy: Policy) -> list[RecoveryPoint]:
        points = item.view.points
        surplus = len(points) - (policy.most_points or len(points))
        too_old = item.tried - policy.retention
        expired = (p for i, p in enumerate(points[:-1]) if i < surplus or p.time < too_old)
        return [point for point in expired if point.id not in (item.held, item.chosen)]


_NOT_METHODS = ("spawn", "opened", "jobs")
_RENAMED = {"jobs": "jobs_list"}


async def _serve_request(core: Core, ready: asyncio.Event, method: str, params: Json) -> Any:
    await ready.wait()
    scope, _, name = method.partition(".")
    name = _RENAMED.get(name, name)
    found = getattr(core, name, None) if scope == "core" and hasattr(Core, name) else None
    if name.startswith("_") or name in _NOT_METHODS or not inspect.iscoroutinefunction(found):
        raise NotImplementedError(f"there is no method {method}")
    wanted = _parameters(found)
    arguments = {
        one: from_json(kind, params.get(one), f"{method}: {one}") for one, kind in wanted.items()
    }
    return to_json(await found(**arguments))


async def _open_streams(
    accepted: socket.socket | None,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if accepted:
        return await asyncio.open_unix_connection(sock=accepted, limit=MOST_BYTES)
    if path := os.environ.get("ROUNDTRIP_CORE_SOCKET"):
        return await asyncio.open_unix_connection(path, limit=MOST_BYTES)
    # Standard output belongs to the protocol, so what the core prints goes to standard error.
    loop, out = asyncio.get_running_loop(), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    reader = asyncio.StreamReader(limit=MOST_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, out)
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)


async def _run(core: Core, accepted: socket.socket | None) -> None:
    loop = cast(_Loop, asyncio.get_running_loop())
    connection, ready = Connection(*await _open_streams(accepted)), asyncio.Event()
    connection.serve_request = functools.partial(_serve_request, core, ready)
    serving = loop.create_task(connection.serve())
    hello = {"protocol": PROTOCOL, "name": core.name, "version": core.version, "time": list(core.time)}
    try:
        welcome = await connection.call("suite.connect", hello)
        core.clock = Clock(connection)
        if welcome["time"] == "virtual":
            core.clock.virtual, connection.told = True, welcome["now"]
            loop.virtual_clock, loop.selector.idle = core.clock, connection.idle
        core.sites = {site: Platform(connection, site) for site in welcome["sites"]}
        core.state_dir = Path(welcome["state_dir"])
        core.store = Store(core.state_dir)
        core.jobs = Jobs(core)
        for site in core.sites.values():
            # A site that cannot be reached has nothing open that could be in the way.
            with contextlib.suppress(PlatformError):
                await site.close_all()
        await core.opened()
        core.jobs.resume()
        ready.set()
    except (ProtocolError, ConnectionError, KeyError) as error:
        sys.exit(f"no connection to the suite: {error}")
    await serving
    await core.close()


def run(core: Core) -> None:
    """Connects to the suite and serves the core until the suite ends the connection.

    A program that is called with `--listen PATH` listens at a socket instead: see `listen`.
    """
    match sys.argv[1:]:
        case ["--listen", path]:
            listen(core, path)
        case _:
            _serve(core)


def listen(core: Core, path: str) -> None:
    """Listens at a Unix socket, for a suite that is started with `--core unix:PATH`. Each connection
    gets a process of its own, with a copy of the core."""
    # Nobody waits for these processes.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print(f"listening at {path}", file=sys.stderr, flush=True)
        while True:
            accepted, _ = server.accept()
            with accepted:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    server.close()
                    return _serve(core, accepted)


def _serve(core: Core, accepted: socket.socket | None = None) -> None:
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(_run(core, accepted))
