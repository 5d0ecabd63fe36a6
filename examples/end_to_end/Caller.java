// java -cp onnxruntime.jar Caller.java model.onnx photo.jpg   (com.microsoft.onnxruntime:onnxruntime)
import ai.onnxruntime.OnnxJavaType;
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import java.awt.image.BufferedImage;
import java.io.File;
import java.nio.ByteBuffer;
import java.util.Locale;
import java.util.Map;
import javax.imageio.ImageIO;

public class Caller {
    public static void main(String[] args) throws Exception {
        BufferedImage photo = ImageIO.read(new File(args[1]));
        int width = photo.getWidth(), height = photo.getHeight();
        ByteBuffer pixels = ByteBuffer.allocateDirect(width * height * 3);
        for (int rgb : photo.getRGB(0, 0, width, height, null, 0, width)) {
            pixels.put((byte) (rgb >> 16)).put((byte) (rgb >> 8)).put((byte) rgb);
        }
        pixels.rewind();
        var environment = OrtEnvironment.getEnvironment();
        long[] shape = {height, width, 3};
        try (var session = environment.createSession(args[0]);
                var image = OnnxTensor.createTensor(environment, pixels, shape, OnnxJavaType.UINT8);
                var found = session.run(Map.of("image", image))) {
            long[] index = (long[]) found.get("index").get().getValue();
            float[] score = (float[]) found.get("score").get().getValue();
            System.out.printf(Locale.ROOT, "%d %.3f%n", index[0], score[0]);
        }
    }
}
