"""Sets the SSID of all home routers, and follows each task to its end. See docs/api.md."""
import sys, grpc
from hearth.northbound.v1 import device_pb2, device_pb2_grpc, task_pb2, task_pb2_grpc
from hearth.types.v1 import parameter_pb2, task_pb2 as types

token = open("hearth-data/admin.token").read().strip()
auth = [("authorization", f"Bearer {token}")]
channel = grpc.insecure_channel("127.0.0.1:8080")
devices = device_pb2_grpc.DeviceServiceStub(channel)
tasks = task_pb2_grpc.TaskServiceStub(channel)

wanted = device_pb2.ListDevicesRequest(parent="tenants/default", filter='product_class = "HomeRouter"')
for device in devices.ListDevices(wanted, metadata=auth).devices:
    value = parameter_pb2.ParameterValue(path="Device.WiFi.SSID.1.SSID", value=sys.argv[1])
    spec = types.TaskSpec(set_parameter_values=types.SetParameterValues(values=[value]))
    request = task_pb2.CreateTaskRequest(
        parent=device.name, task=task_pb2.Task(spec=spec), request_id=f"ssid-{device.serial_number}-{sys.argv[1]}"
    )
    try:
        task = tasks.CreateTask(request, metadata=auth).task
        for change in tasks.WatchTask(task_pb2.WatchTaskRequest(name=task.name), metadata=auth):
            state = types.TaskState.Name(change.task.state)
            print(device.name, state, change.task.reason)
    except grpc.RpcError as error:
        print(device.name, error.code(), error.details())
