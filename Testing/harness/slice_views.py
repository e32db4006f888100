"""Slice views without windows: Slicer's own slice logics and displayable managers, rendered off-screen through EGL.

`SliceViews` stands in for `slicer.app.layoutManager()`: it follows the layout node and makes the slice views that the
layout asks for. `SliceView` stands in for a slice widget, its view and its controller, and takes mouse events.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

MANAGERS = (
    "vtkMRMLCrosshairDisplayableManager",  # scrolls, pans and zooms
    "vtkMRMLScalarBarDisplayableManager",  # changes the window by dragging
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
)
BAR = 22  # pixels: the controller bar over each view
GAP = 4  # pixels between views


class SliceView:
    """One slice view of `size` (width, height) pixels for a slice node. Positions are pixels from the lower left."""

    def __init__(self, node, application_logic, size):
        self.node = node
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetNumberOfLayers(2)
        self.renderer = vtk.vtkRenderer()
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.window.AddRenderer(self.renderer)
        overlay = vtk.vtkRenderer()
        overlay.SetLayer(1)
        self.window.AddRenderer(overlay)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.EnableRenderOff()

        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(application_logic)
        for name in MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.SetRenderer(self.renderer)
        self.managers.Initialize(factory, self.renderer)

        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application_logic)
        self.logic.SetMRMLScene(node.GetScene())
        self.logic.SetSliceNode(node)
        application_logic.GetSliceLogics().AddItem(self.logic)
        self._logics = application_logic.GetSliceLogics()
        self.managers.SetMRMLDisplayableNode(node)
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetSliceLogic(self.logic)
        self._style.SetDisplayableManagers(self.managers)
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._style.SetInteractor(self.interactor)

        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)
        self.resize(*size)
        self.interactor.Initialize()

    # What the application's widgets have.

    def sliceView(self):
        return self

    def sliceController(self):
        return self

    def sliceLogic(self):
        return self.logic

    def mrmlSliceNode(self):
        return self.node

    def mrmlSliceCompositeNode(self):
        return self.composite

    def renderWindow(self):
        return self.window

    def scheduleRender(self):
        """Nothing to schedule: `grab` renders."""

    def setSliceOffsetValue(self, offset):
        self.logic.StartSliceNodeInteraction(slicer.vtkMRMLSliceNode.SliceToRASFlag)
        self.logic.SetSliceOffset(offset)
        self.logic.EndSliceNodeInteraction()

    # What tests do and see.

    @property
    def composite(self):
        return self.logic.GetSliceCompositeNode()

    @property
    def offset(self):
        return self.logic.GetSliceOffset()

    def resize(self, width, height):
        self.window.SetSize(width, height)
        self.interactor.SetSize(width, height)
        self.logic.ResizeSliceNode(width, height)

    def to_pixel(self, ras):
        """The pixel that shows a place of the world, RAS mm."""
        matrix = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), matrix)
        x, y, *_ = matrix.MultiplyPoint((*ras, 1))
        return round(x), round(y)

    def drag(self, start, end, button="Left", steps=5):
        """Press a mouse button, "Left", "Middle" or "Right", at one pixel and release it at another."""
        self.press(start, button)
        for point in np.linspace(start, end, steps + 1)[1:].round().astype(int).tolist():
            self.move(point)
        self.release(end, button)

    def press(self, point, button="Left"):
        self.grab()
        self._event("EnterEvent", point)
        self.move(point)
        self._event(f"{button}ButtonPressEvent", point)

    def move(self, point):
        self._event("MouseMoveEvent", point)

    def release(self, point, button="Left"):
        self._event(f"{button}ButtonReleaseEvent", point)

    def wheel(self, steps=1):
        """Turn the wheel over the middle of the view; negative: backward."""
        self.grab()
        middle = [size // 2 for size in self.window.GetSize()]
        self._event("EnterEvent", middle)
        self.move(middle)
        for _ in range(abs(steps)):
            self._event("MouseWheelForwardEvent" if steps > 0 else "MouseWheelBackwardEvent", middle)

    def grab(self):
        """The picture, (height, width, 3) uint8, first row on top."""
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())
        self.window.Render()
        return _pixels(self.window)

    def close(self):
        self._style.SetInteractor(None)
        self._logics.RemoveItem(self.logic)
        self.managers.SetMRMLDisplayableNode(None)
        self.logic.SetSliceNode(None)
        self.logic.SetMRMLScene(None)
        self.window.Finalize()

    def _event(self, name, point):
        self.interactor.SetEventInformation(int(point[0]), int(point[1]), 0, 0, chr(0), 0, None)
        getattr(self.interactor, name)()


class SliceViews:
    """The slice views that the layout shows, side by side in `size` (width, height) pixels."""

    def __init__(self, scene, application_logic, size=(1200, 440)):
        self._application_logic = application_logic
        self._size = size
        self._views = {}
        os.environ["VTK_DEFAULT_OPENGL_WINDOW"] = "vtkEGLRenderWindow"  # with or without an X server
        scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())  # as Slicer's module Colors does
        self._layout_logic = slicer.vtkMRMLLayoutLogic()
        self._layout_logic.SetMRMLApplicationLogic(application_logic)
        self._layout_logic.SetMRMLScene(scene)
        self.layout_node = self._layout_logic.GetLayoutNode()
        self._tag = self.layout_node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._arrange, -1.0)  # after the logic
        self.layout_node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)

    # What the application's layout manager has.

    def layoutLogic(self):
        return self._layout_logic

    def sliceViewNames(self):
        return list(self._views)

    def sliceWidget(self, name):
        return self._views.get(name)

    def setLayout(self, layout):
        self.layout_node.SetViewArrangement(layout)

    @property
    def layout(self):
        return self.layout_node.GetViewArrangement()

    # What tests do and see.

    def shown(self):
        """The views of the layout, from left to right."""
        return [view for view in self._views.values() if view.node.IsMappedInLayout()]

    def picture(self):
        """The views with a bar over each, its colour, its label and its offset, (height, width, 3) uint8."""
        from PIL import Image, ImageDraw, ImageFont

        font = ImageFont.load_default(13)
        columns = []
        for view in self.shown():
            pixels = view.grab()
            bar = Image.new("RGB", (pixels.shape[1], BAR), tuple(round(255 * c) for c in view.node.GetLayoutColor()))
            draw = ImageDraw.Draw(bar)
            draw.text((6, 3), view.node.GetLayoutLabel(), "black", font)
            text = f"{view.node.GetOrientation()}  {view.offset:.1f} mm"
            draw.text((bar.width - 6, 3), text, "black", font, anchor="ra")
            columns.append(np.vstack([np.asarray(bar), pixels]))
        gap = np.zeros((columns[0].shape[0], GAP, 3), np.uint8)
        return np.hstack([part for column in columns for part in (column, gap)][:-1])

    def save(self, path, caption="harness picture: Slicer's slice views, rendered off-screen without the application"):
        """Write `picture` as a PNG with a line below that says what it is."""
        from PIL import Image, ImageDraw, ImageFont

        pixels = self.picture()
        whole = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + BAR), "white")
        whole.paste(Image.fromarray(pixels))
        ImageDraw.Draw(whole).text((6, pixels.shape[0] + 3), caption, "black", ImageFont.load_default(13))
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        whole.save(path, optimize=True)

    def close(self):
        self.layout_node.RemoveObserver(self._tag)
        for view in self._views.values():
            view.close()
        self._views.clear()
        self._layout_logic.SetMRMLScene(None)

    def _arrange(self, *_):
        nodes = self._layout_logic.GetViewNodes()
        nodes = [nodes.GetItemAsObject(index) for index in range(nodes.GetNumberOfItems())]
        nodes = [node for node in nodes if node.IsA("vtkMRMLSliceNode")]
        if not nodes:
            return
        width, height = (self._size[0] - GAP * (len(nodes) - 1)) // len(nodes), self._size[1] - BAR
        ordered = {}
        for node in nodes:
            name = node.GetLayoutName()
            view = self._views.pop(name, None)
            if view is None:
                view = SliceView(node, self._application_logic, (width, height))
            elif tuple(view.window.GetSize()) != (width, height):
                view.resize(width, height)
            ordered[name] = view
        for view in self._views.values():
            view.node.SetMappedInLayout(0)
        for node in nodes:
            node.SetMappedInLayout(1)
        self._views = {**ordered, **self._views}


def _pixels(window):
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    grabber.Update()
    image = grabber.GetOutput()
    width, height, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3].copy()
